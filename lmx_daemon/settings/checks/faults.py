"""The faults of settings in plain words: the line, the nearest key, the values that are allowed. Pure."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.text import one_line, shortened
from lmx_daemon.settings.keys import Key, sections
from lmx_daemon.settings.sections.models import UNSUPPORTED
from lmx_daemon.settings.words import phrase_of

SHOWN_VALUE = 60
"""Maximum number of characters of a wrong value in a message."""
PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
HINTS = {
    "Invalid value": 'write texts in quotes, as in host = "127.0.0.1", and numbers and true or false without',
    "Cannot overwrite a value": "a key is there twice; remove one of them",
    "twice": "write each table once, with all of its keys below it",
    "Expected '='": "write each setting as: key = value",
    "Unclosed array": "end the list with ]",
    "Unterminated string": "end the text with a quotation mark",
    "Expected newline": "write one setting in each line, with texts in quotes",
}
"""Part of tomllib's message -> what would be right."""


class Fault(Frozen, frozen=True):
    """Fault of a file, a variable or a given value."""

    path: tuple[str, ...]
    message: str
    hint: str = ""


def unknown_section(name: str, value: object) -> Fault:
    """Return the fault of an unknown name at the top level of the file."""
    known = sections()
    owners = [section for section, found in known.items() if name in found]
    if not isinstance(value, dict) and owners:
        hint = f"{name} belongs below [{owners[0]}]"
    else:
        hint = nearest(name, known, lambda found: f"[{found}]") or f"tables are: {', '.join(known)}"
    label = f"[{name}]" if isinstance(value, dict) else name
    return Fault(path=(name,), message=f"{one_line(label)} is not a setting", hint=hint)


def unknown_key(section: str, name: str, place: tuple[str, ...]) -> Fault:
    """Return the fault of an unknown key of a table; `place` is its path."""
    known = sections()[section]
    if section == "models" and name in UNSUPPORTED:
        return Fault(path=place, message=f"{dotted(place)}: {UNSUPPORTED[name]}", hint="remove the line")
    owners = [other for other, found in sections().items() if name in found]
    hint = nearest(name, known, str)
    if not hint and owners:
        hint = f"{name} belongs below [{owners[0]}]"
    hint = hint or f"keys of [{section}] are: {', '.join(known)}"
    return Fault(path=place, message=f"{dotted(place)} is not a setting", hint=hint)


def wrong_value(key: Key, place: tuple[str, ...], value: Any, reason: str = "") -> Fault:
    """Return the fault of a value; `reason` is that of the key's own check, whose type and bounds were right."""
    if reason:
        return Fault(path=place, message=f"{dotted(place)}: {reason}")
    given = "" if key.secret else f", not {shown(value)}"
    hint = f"to leave it at its default, {shown(key.default)}, remove the line" if key.default is not None else ""
    return Fault(path=place, message=f"{dotted(place)} must be {phrase_of(key.annotation)}{given}", hint=hint)


def not_a_table(place: tuple[str, ...], value: Any) -> Fault:
    """Return the fault of a value in the place of a table."""
    hint = f"write [{dotted(place)}] on a line of its own, and its keys below it"
    return Fault(path=place, message=f"{dotted(place)} must be a table, not {kind_of(value)}", hint=hint)


def kind_of(value: Any) -> str:
    """Return the kind of a TOML value in words. The value itself may be a key, and the log must not have it."""
    kinds = ((bool, "a boolean"), (str, "a text"), (int | float, "a number"), (list, "a list"), (dict, "a table"))
    return next((word for kind, word in kinds if isinstance(value, kind)), "a time")


def broken_toml(text: str, error: ValueError) -> tuple[str, str]:
    """Return where a text is not TOML and the reason, each in words, and a hint: ("line 3, column 5: ...", hint)."""
    words = str(error)
    found = PLACE.search(words)
    reason = PLACE.sub("", words)
    if found is None:
        place = "a value"
    elif found[1]:
        place = f"line {found[1]}, column {found[2]}"
    else:
        place = f"line {text.rstrip().count(chr(10)) + 1}, the end of the file"
    hint = next((hint for part, hint in HINTS.items() if part in reason), "correct it, or move the file away")
    return f"{place}: not TOML: {shortened(one_line(reason[:1].lower() + reason[1:]), 200)}", hint


def nearest(name: str, known: Iterable[str], form: Any = str) -> str:
    """Return the hint that names the nearest known name; empty if none is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {form(found[0])}?" if found else ""


def dotted(path: tuple[str, ...]) -> str:
    """Return a path as TOML writes it: `models."org/name".ttl`."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part, re.ASCII) else f'"{one_line(part)}"' for part in path)


def shown(value: Any) -> str:
    """Return a value about as TOML writes it, on one short line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{shortened(one_line(value), SHOWN_VALUE)}"'
    if isinstance(value, list | tuple):
        return shortened(f"[{', '.join(map(shown, value))}]", SHOWN_VALUE)
    if isinstance(value, dict) and value:
        return shortened("{ " + ", ".join(f"{dotted((k,))} = {shown(v)}" for k, v in value.items()) + " }", SHOWN_VALUE)
    return shortened(one_line(str(value)), SHOWN_VALUE)
