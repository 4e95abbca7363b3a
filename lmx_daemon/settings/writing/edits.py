"""Edits of the text of config.toml: one key is set or removed, and comments and order stay as they are. Pure.

tomlkit changes values. A new key is placed here, after the last key of its table: tomlkit would place it after the
comment that belongs to the next table. tomlkit is imported where it is used, since its import takes 0.1 s.
"""

import textwrap
import tomllib
from typing import Any

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.checks.faults import dotted
from lmx_daemon.settings.positions import KeyPath, statements

WIDTH = 100
"""Columns of a comment."""


def with_value(text: str, path: KeyPath, value: Any, comment: str = "") -> str:
    """Return the text with a key set; a new key gets a comment. Raises ConfigError if the text cannot be edited."""
    expected = tomllib.loads(text)
    table = expected
    for name in path[:-1]:
        table = table.setdefault(name, {})
    table[path[-1]] = value
    import tomlkit
    from tomlkit.exceptions import TOMLKitError
    from tomlkit.items import InlineTable

    try:
        parsed = tomlkit.parse(text)
        parent = _table(parsed, path[:-1])
        if isinstance(parent, InlineTable) or (parent is not None and path[-1] in parent):
            parent[path[-1]] = tomlkit.parse(f"value = {toml(value)}")["value"]
            edited = tomlkit.dumps(parsed)
        else:
            edited = _inserted(text, path, value, comment)
    except TOMLKitError:
        edited = ""
    return _checked(edited, expected, f"{dotted(path)} = {toml(value)}")


def without_value(text: str, path: KeyPath, comment: str = "") -> str:
    """Return the text without a key that is in it, and without `comment` above it.

    Raises ConfigError if the text cannot be edited.
    """
    expected = tomllib.loads(text)
    table = expected
    for name in path[:-1]:
        table = table[name]
    del table[path[-1]]
    found = [each for each in statements(text) if each.path == path and each.table is not None]
    if len(found) == 1:
        edited = text[: found[0].start].removesuffix(comment) + text[found[0].end :]
    else:
        edited = _without_inline(text, path)
    return _checked(edited, expected, f"remove {dotted(path)}")


def is_set(text: str, path: KeyPath) -> bool:
    """Return whether a key is in a valid text."""
    table: Any = tomllib.loads(text)
    for name in path:
        if name not in table:
            return False
        table = table[name]
    return True


def toml(value: Any) -> str:
    """Return a value as TOML writes it, a table on one line."""
    import tomlkit

    if isinstance(value, dict):
        inside = ", ".join(f"{dotted((name,))} = {toml(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return str(tomlkit.item(value).as_string())


def commented(text: str) -> str:
    """Return a text as lines of a comment."""
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, WIDTH - 2))


def _without_inline(text: str, path: KeyPath) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        parsed = tomlkit.parse(text)
        parent = _table(parsed, path[:-1])
        if parent is not None:
            del parent[path[-1]]
        return str(tomlkit.dumps(parsed))
    except TOMLKitError:
        return ""


def _table(document: Any, path: KeyPath) -> Any:
    """Return a table of a document of tomlkit; None if it is not there."""
    for name in path:
        if name not in document:
            return None
        document = document[name]
    return document


def _inserted(text: str, path: KeyPath, value: Any, comment: str) -> str:
    """Return the text with a new key after the last one of its table, or in a new table at the end."""
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += end
    found = list(statements(text))
    inside = [each for each in found if path[:-1] in (each.path, each.table)]
    outside = [each for each in found if each.table == () and each.path[:-1] == path[:-1]]
    table = path[:-1]
    if any(each.table is None for each in inside):
        place, key = inside[-1].end, path[-1:]
    elif outside:  # dotted keys in front of all tables
        place, key = outside[-1].end, path
    else:
        header = f"{end if text else ''}[{dotted(table)}]{end}"
        text, key = text + header, path[-1:]
        place = len(text)
    lines = f"{comment}{dotted(key)} = {toml(value)}\n".replace("\n", end)
    return text[:place] + lines + text[place:]


def _checked(edited: str, expected: dict[str, Any], change: str) -> str:
    """Return the edited text if it means what was expected; empty tables count for nothing."""
    try:
        right = bool(_filled(tomllib.loads(edited)) == _filled(expected))
    except ValueError:
        right = False
    if not right:
        raise ConfigError(
            "the file has a form that lmx cannot change by itself", hint=f"use `lmx config edit`, and {change}"
        )
    return edited


def _filled(value: Any) -> Any:
    """Return a document without its empty tables."""
    if not isinstance(value, dict):
        return value
    return {name: filled for name, each in value.items() if (filled := _filled(each)) != {}}
