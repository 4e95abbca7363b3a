"""Where the keys of a TOML text are: the line of each statement. tomllib reads values without their positions."""

import re
import tomllib
from collections.abc import Iterator

Path = tuple[str, ...]
DELIMITERS = re.compile(r"\"\"\"|'''|[\"'#\[\]{}\n]")
"""What can begin or end a string, a comment, a list, a table or a line."""
ENDS = {
    '"""': re.compile(r'(?:[^\\]|\\.)*?"""+', re.DOTALL),
    "'''": re.compile(r".*?'''+", re.DOTALL),
    '"': re.compile(r'(?:[^"\\\n]|\\.)*"?'),
    "'": re.compile(r"[^'\n]*'?"),
    "#": re.compile(r"[^\n]*"),
}
"""Beginning of a string or a comment -> the rest of it."""


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, counted from 1, of each key and table of a valid TOML text."""
    found: dict[Path, int] = {}
    for path, line in statements(text):
        for length in range(1, len(path) + 1):
            found.setdefault(path[:length], line)
    return found


def nearest_line(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of a key, else that of the table around it; None if neither has a statement."""
    prefixes = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[prefix] for prefix in prefixes if prefix in lines), None)


def statements(text: str) -> Iterator[tuple[Path, int]]:
    """Yield the full path and the line of each table header and of each key with its value."""
    table: Path = ()
    start, line = 0, 1
    while start < len(text):
        end = _end(text, start)
        statement = text[start:end].strip()
        if statement.startswith("["):
            table = _path(statement)
            yield table, line
        elif statement and not statement.startswith("#"):
            yield table + _path(statement), line
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


def _path(statement: str) -> Path:
    """Return the path that a statement names; empty if it is not valid TOML."""
    try:
        found = tomllib.loads(statement)
    except ValueError:
        return ()
    path: list[str] = []
    value: object = found
    while isinstance(value, dict) and len(value) == 1:
        ((name, value),) = value.items()
        path.append(name)
        if isinstance(value, list) and statement.startswith("[["):
            (value,) = value
    return tuple(path)
