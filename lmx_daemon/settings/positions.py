"""Positions of the keys of a TOML text: the place of each statement. tomllib gives values only. Pure."""

import re
import tomllib
from collections.abc import Iterator

from lmx_daemon.contract.frozen import Frozen

KeyPath = tuple[str, ...]
DELIMITERS = re.compile(r"\"\"\"|'''|[\"'#\[\]{}\n]")
"""Characters that can begin or end a string, a comment, a list, a table or a line."""
KEY = re.compile(r'(?:"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[^="\'#\n])*')
"""The key of a statement, up to its equals sign."""
ENDS = {
    '"""': re.compile(r'(?:[^\\]|\\.)*?"""+', re.DOTALL),
    "'''": re.compile(r".*?'''+", re.DOTALL),
    '"': re.compile(r'(?:[^"\\\n]|\\.)*"?'),
    "'": re.compile(r"[^'\n]*'?"),
    "#": re.compile(r"[^\n]*"),
}
"""Beginning of a string or a comment -> the rest of it."""


class Statement(Frozen, frozen=True):
    """Header of a table, or a key with its value."""

    path: KeyPath
    line: int
    """Line that it begins in, counted from 1."""
    start: int
    end: int
    """Index after its line feed."""
    table: KeyPath | None = None
    """Table that its key is in; None for a header."""


def lines_of(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, of each key and table of a valid TOML text."""
    found: dict[KeyPath, int] = {}
    for each in statements(text):
        for length in range(1, len(each.path) + 1):
            found.setdefault(each.path[:length], each.line)
    return found


def nearest_line(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of a key, else that of the table around it; None if neither has a statement."""
    prefixes = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[prefix] for prefix in prefixes if prefix in lines), None)


def statements(text: str) -> Iterator[Statement]:
    """Yield the header of each table and each key with its value, in their order."""
    table: KeyPath = ()
    start, line = 0, 1
    while start < len(text):
        end = _end(text, start)
        statement = text[start:end].strip()
        if statement.startswith("["):
            table = _path(statement)
            yield Statement(path=table, line=line, start=start, end=end)
        elif statement and not statement.startswith("#"):
            yield Statement(path=table + _path(statement), line=line, start=start, end=end, table=table)
        line += text.count("\n", start, end)
        start = end


def _end(text: str, start: int) -> int:
    """Return the index after the line feed that ends the statement at `start`."""
    depth, position = 0, start
    while (found := DELIMITERS.search(text, position)) is not None:
        position, mark = found.end(), found[0]
        if mark in ENDS:
            rest = ENDS[mark].match(text, position)
            position = rest.end() if rest is not None else len(text)
        elif mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        elif depth <= 0:  # a line feed outside all brackets
            return position
    return len(text)


def _path(statement: str) -> KeyPath:
    """Return the path that a header or the key of a statement names; empty if it is not valid TOML."""
    if not statement.startswith("[") and (key := KEY.match(statement)) is not None:
        statement = f"{key[0]} = 0"
    try:
        value: object = tomllib.loads(statement)
    except ValueError:
        return ()
    path: list[str] = []
    while isinstance(value, dict) and len(value) == 1:
        ((name, value),) = value.items()
        path.append(name)
        if isinstance(value, list):  # an element of a list of tables
            (value,) = value
    return tuple(path)
