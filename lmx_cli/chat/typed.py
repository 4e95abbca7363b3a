"""Input of `lmx chat`: lines, messages of several lines, and the history of earlier sessions.

GNU readline, or libedit on a Mac, edits the lines. It starts in milliseconds and is a part of Python; prompt_toolkit
would take longer to import than the rest of the command.
"""

import json
import readline
from collections.abc import Callable
from pathlib import Path

import msgspec

from lmx_daemon.storage.durable import read_regular, write_file

QUOTES = '"""'
MORE = "\\"
"""End of a line that the next one continues."""
PROMPT, NEXT = "> ", "  "
MAX_LINES = 1000
MAX_BYTES = 4 * 1024 * 1024


def message(read: Callable[[str], str]) -> str:
    """Return the next message: one line, lines that end in a backslash, or lines between three quotation marks."""
    line = read(PROMPT).strip()
    if line.startswith(QUOTES):
        return _quoted(line.removeprefix(QUOTES), read)
    lines = [line]
    while lines[-1].endswith(MORE):
        lines[-1] = lines[-1].removesuffix(MORE)
        lines.append(read(NEXT).rstrip())
    return "\n".join(lines).strip()


def _quoted(first: str, read: Callable[[str], str]) -> str:
    lines = [first]
    while not lines[-1].rstrip().endswith(QUOTES):
        lines.append(read(NEXT))
    lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
    return "\n".join(lines).strip()


class InputHistory:
    """The messages of earlier sessions, in a file that only its owner can read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._new: list[str] = []
        readline.set_auto_history(False)  # answers to questions are not messages
        readline.parse_and_bind("set enable-bracketed-paste on")
        readline.clear_history()
        for line in self._stored():
            readline.add_history(line)

    def add(self, line: str) -> None:
        """Add a message to the history of this session."""
        if line and (not self._new or self._new[-1] != line):
            self._new.append(line)
            readline.add_history(line)

    def save(self) -> None:
        """Write the last messages of all sessions. If the file cannot be written, those of this session are lost."""
        if not self._new:
            return
        lines = [*self._stored(), *self._new][-MAX_LINES:]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        try:
            write_file(self._file, text.encode(errors="replace"), 0o600)
        except OSError:
            return

    def _stored(self) -> list[str]:
        try:
            return _decoded(read_regular(self._file, MAX_BYTES))
        except OSError:
            return []


def _decoded(content: bytes) -> list[str]:
    """Return the messages of a file; damaged lines are left out."""
    found = []
    for line in content.splitlines():
        try:
            found.append(msgspec.json.decode(line, type=str))
        except msgspec.MsgspecError:
            continue
    return found[-MAX_LINES:]
