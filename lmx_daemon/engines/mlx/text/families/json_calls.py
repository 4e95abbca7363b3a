"""Calls written as JSON: an object with a name and arguments, or a list of such objects.

The arguments are emitted as they are written. An object with other keys is not a call.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, EndOfText, NotACall, Wait, decoded

NAMES = ("name", "tool_name", "function_name")
ARGUMENTS = ("arguments", "parameters", "args")
IDS = ("id", "tool_call_id", "call_id")
SEPARATORS = (",", ";")


@dataclass
class Entry:
    """What is known of a call while its object is read."""

    name: str | None = None
    identity: str | None = None
    held: str | None = None
    """Arguments that stand before the name or the id."""
    begun: bool = False


def calls(source: CallSource, *, late_ids: bool = False) -> Wait[None]:
    """Read one object, several in a row, or a list of them. Raises NotACall if there is none.

    `late_ids`: ids stand behind the arguments, which are held back until then.
    """
    yield from source.space()
    if (yield from source.accept("[")):
        yield from source.space()
        while True:
            yield from call(source, late_ids=late_ids)
            yield from source.space()
            if not (yield from source.accept(",")):
                break
            yield from source.space()
        yield from source.expect("]")
        return
    yield from call(source, late_ids=late_ids)
    while (yield from another(source)):
        yield from call(source, late_ids=late_ids)


def another(source: CallSource) -> Wait[bool]:
    """Return whether one more object follows, behind a separator or white space."""
    yield from source.space()
    if (yield from source.at_end()):
        return False
    if (yield from source.accept(*SEPARATORS)):
        yield from source.space()
    return not (yield from source.at_end()) and (yield from source.peek()) == "{"


def call(source: CallSource, *, late_ids: bool = False) -> Wait[None]:
    """Read one object. Raises NotACall, before a call has begun if possible."""
    yield from source.expect("{")
    entry = Entry()
    yield from members(source, entry, late_ids)
    if entry.begun:
        return
    if entry.name is None:
        raise NotACall("no name")
    source.call(entry.name, entry.held or "{}", entry.identity)


def members(source: CallSource, entry: Entry, late_ids: bool) -> Wait[None]:
    """Read the members of an object behind its "{", and its "}"."""
    seen: set[str] = set()
    while True:
        yield from source.space()
        if (yield from source.accept("}")):
            return
        key = yield from source.string()
        yield from source.space()
        yield from source.expect(":")
        yield from source.space()
        if key in seen:
            raise NotACall("a key stands there twice")
        seen.add(key)
        yield from member(source, key, entry, late_ids)
        yield from source.space()
        yield from source.accept(",")


def member(source: CallSource, key: str, entry: Entry, late_ids: bool) -> Wait[None]:
    """Read the value of one member."""
    first = yield from source.peek()
    if key == "function" and first == "{":  # OpenAI's form
        yield from source.expect("{")
        yield from members(source, entry, late_ids)
    elif key in NAMES or (key == "function" and entry.name is None):
        entry.name = yield from source.string()
    elif key in ARGUMENTS:
        if first == "{" and entry.name is not None and not late_ids:
            source.begin(entry.name, entry.identity)
            entry.begun = True
            yield from source.value(write=True)
            source.close()
        else:
            entry.held = as_arguments((yield from source.value()))
    elif key in IDS:
        entry.identity = str(decoded((yield from source.value())))
    elif key == "type" or entry.name is not None:
        yield from source.value()
    else:
        raise NotACall("other keys than a call has")


def as_arguments(text: str) -> str:
    """Return the JSON text of arguments, which may be written as a string that contains JSON."""
    value = decoded(text)
    if value is None:
        return "{}"
    if isinstance(value, str):
        return value if value.strip() else "{}"
    return text


def enclosed(source: CallSource, reading: Wait[None], ends: Iterable[str]) -> CallReading:
    """Read calls up to one of the markers `ends`, which the answer's end may replace."""
    ends = tuple(ends)
    try:
        yield from reading
    except (NotACall, EndOfText):
        if not source.begun:
            raise
    yield from behind(source, ends)
    return None


def behind(source: CallSource, ends: tuple[str, ...]) -> Wait[None]:
    """Take the rest of an envelope. A bracket too many, for example, is ignored."""
    try:
        yield from source.until(ends)
    except EndOfText:
        return
