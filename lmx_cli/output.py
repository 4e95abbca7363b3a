"""All output of the command line, and its exit codes.

stdout has data; stderr has progress, notes, `error:` and `hint:` lines. No other module of lmx_cli prints.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
import unicodedata
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, TextIO

import msgspec

from lmx_cli.layout import GAP, cells, elided, fitted, shortened
from lmx_daemon.contract.errors import LmxError, UsageError


class ExitCode(IntEnum):
    """Exit codes of `lmx`."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_RUNNING = 3
    INTERRUPTED = 130


PROGRESS_SECONDS = 2.0
"""Time between two progress lines if stderr is not a terminal."""
FALLBACK_COLUMNS = 80
DIM, RED, YELLOW, BOLD, RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
JOINERS = "\u200c\u200d"
"""Zero-width characters that some scripts and emoji need. They stay in running text, but not in names."""
REPLACED = "\N{REPLACEMENT CHARACTER}"
RESTORE = f"{RESET}\x1b[?25h"
"""Sequence that resets all attributes and shows the cursor."""


class Output:
    """The output streams. Colour is used on terminals only, unless NO_COLOR is set."""

    def __init__(self) -> None:
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.color_out = sys.stdout.isatty() and not plain
        self.color_err = sys.stderr.isatty() and not plain
        self.interactive = sys.stdout.isatty() and sys.stdin.isatty()
        self.debug = bool(os.environ.get("LMX_DEBUG"))
        """Whether an unexpected exception is shown with its traceback."""
        self.ended_by: int | None = None
        """Number of the signal that ends this command."""
        self._redraws = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._progress = ""
        self._progress_at = 0.0

    def text(self, *lines: str) -> None:
        """Write data, one line for each argument. Foreign text cannot start another line."""
        sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines or ("",)))
        sys.stdout.flush()

    def content(self, text: str, *, dim: bool = False) -> None:
        """Write text of a model or a file: unchanged to a pipe, without control characters to a terminal."""
        shown = visible(text) if sys.stdout.isatty() else text
        sys.stdout.write(f"{DIM}{shown}{RESET}" if dim and self.color_out else shown)
        sys.stdout.flush()

    def json(self, value: Any) -> None:
        """Write a value as indented JSON."""
        sys.stdout.write(_escaped(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()) + "\n")

    def json_line(self, value: Any) -> None:
        """Write a value as one line of JSON."""
        sys.stdout.write(_escaped(msgspec.json.encode(value).decode()) + "\n")
        sys.stdout.flush()

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        right: Sequence[str] = (),
        spare: Sequence[str] = (),
        elide: Sequence[str] = (),
    ) -> None:
        """Write aligned columns below their titles; `right` names the right-aligned columns.

        On a terminal, the table fits the width: columns of `elide` (default: the first) lose the middle of their cells,
        and columns of `spare` are left out in the given order. A pipe gets all columns in full.
        """
        table = [[one_line(cell) for cell in row] for row in rows]
        widths = {name: max(len(name), *(cells(row[i]) for row in table)) for i, name in enumerate(columns)}
        if sys.stdout.isatty():
            room = _columns(sys.stdout)
            widths = fitted(columns, list(widths.values()), room, spare=spare, elide=elide or columns[:1])
        for line, bold in [(columns, self.color_out), *((row, False) for row in table)]:
            shown = dict(zip(columns, line, strict=True))
            text = (" " * GAP).join(_cell(shown[name], width, name in right) for name, width in widths.items())
            sys.stdout.write(f"{BOLD}{text.rstrip()}{RESET}\n" if bold else text.rstrip() + "\n")

    def note(self, *lines: str) -> None:
        """Write remarks to stderr, one line for each argument."""
        for line in map(one_line, lines):
            sys.stderr.write((f"{DIM}{line}{RESET}" if self.color_err else line) + "\n")
        sys.stderr.flush()

    def progress(self, text: str) -> None:
        """Show one line on stderr within the terminal's width; "" clears it. A pipe gets one every PROGRESS_SECONDS."""
        if text == self._progress:
            return
        line = one_line(text)
        if self._redraws:
            sys.stderr.write(f"\r\x1b[K{shortened(line, _columns(sys.stderr) - 1)}")
        elif text and time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
            sys.stderr.write(line + "\n")
            self._progress_at = time.monotonic()
        self._progress = text
        sys.stderr.flush()

    def error(self, error: LmxError) -> None:
        """Write an error and its hint to stderr."""
        self.progress("")
        for label, color, text in (("error:", RED, error.message), ("hint:", YELLOW, error.hint)):
            if text:
                shown = visible(text).replace("\n", "\n  ")
                sys.stderr.write(f"{color}{label}{RESET} {shown}\n" if self.color_err else f"{label} {shown}\n")

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Return whether the user confirms a removal; with `yes`, return True without a question.

        The question is written to stderr, the answer read from stdin. Raises UsageError if stdin is not a terminal.
        """
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(
                f"not confirmed: {question}",
                hint="stdin is not a terminal; give --yes to continue without a question",
            )
        self.progress("")
        sys.stderr.write(f"{one_line(question)} [y/N] ")
        sys.stderr.flush()
        if _answer() in ("y", "yes"):
            return True
        self.note("nothing was changed")
        return False

    def restore_terminal(self) -> None:
        """Restore the terminal when a signal ends the command in the middle of a line."""
        with contextlib.suppress(OSError, ValueError):  # after SIGHUP the terminal is closed
            if self._redraws:
                sys.stderr.write(RESTORE)
            self.progress("")


def _answer() -> str:
    """Return one line of stdin. Ctrl-C interrupts it at once, also inside asyncio, whose handler would wait."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return sys.stdin.readline().strip().lower()
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _columns(stream: TextIO) -> int:
    """Return the current width of the terminal behind `stream`."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or FALLBACK_COLUMNS
    except (OSError, ValueError):
        return shutil.get_terminal_size((FALLBACK_COLUMNS, 24)).columns


def _cell(text: str, width: int, right: bool) -> str:
    text = elided(text, width)
    blank = " " * (width - cells(text))
    return blank + text if right else text + blank


def one_line(text: str) -> str:
    """Return foreign `text` as one line that cannot affect the text around it.

    Control characters (including C1, line feeds and tabs), bidirectional controls, zero-width characters and lone
    surrogates are replaced.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if unicodedata.category(c) == "Zs" else REPLACED for c in text)


def visible(text: str) -> str:
    """Return foreign text of several lines without terminal controls; line feeds, tabs and joiners stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or _harmless(c) else REPLACED for c in text)


def _harmless(character: str) -> bool:
    """Return whether an unprintable character can stay in running text. Unassigned ones can be newer emoji."""
    return character in "\n\t" or character in JOINERS or unicodedata.category(character) in ("Zs", "Co", "Cn")


def _escaped(json: str) -> str:
    """Return JSON with terminal controls as unicode escapes, which do not change its meaning."""
    if json.replace("\n", "").isprintable():
        return json
    return "".join(c if c == "\n" or c.isprintable() or _harmless(c) else _escape(c) for c in json)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
