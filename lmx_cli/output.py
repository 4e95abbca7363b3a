"""Everything the command line writes, and the codes it exits with.

stdout is data; stderr is talk: progress, notes, `error:` and `hint:` lines. Nothing else in lmx_cli prints.
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
from lmx_daemon.contract.errors import LmxError, RequestError


class ExitCode(IntEnum):
    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_RUNNING = 3
    INTERRUPTED = 130


PROGRESS_SECONDS = 2.0
"""Time between two progress lines where stderr is no terminal."""
FALLBACK_COLUMNS = 80
DIM, RED, YELLOW, BOLD, RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
JOINERS = "\u200c\u200d"
"""Zero-width characters that scripts and emoji need; they stay in running text, never in a name."""
REPLACED = "\N{REPLACEMENT CHARACTER}"
BACK_TO_NORMAL = f"{RESET}\x1b[?25h"
"""Ends all attributes and shows the cursor."""


class Output:
    """The sink. Colour goes to terminals only, and never where NO_COLOR is set."""

    def __init__(self) -> None:
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.color_out = sys.stdout.isatty() and not plain
        self.color_err = sys.stderr.isatty() and not plain
        self.interactive = sys.stdout.isatty() and sys.stdin.isatty()
        self.debug = bool(os.environ.get("LMX_DEBUG"))
        """Whether an unexpected exception is shown with its traceback."""
        self.ended_by: int | None = None
        """The signal that ends this command."""
        self._redraws = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._progress = ""
        self._progress_at = 0.0

    def text(self, *lines: str) -> None:
        """Write data, one line for each argument. Foreign text in a line cannot begin another one."""
        sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines or ("",)))
        sys.stdout.flush()

    def content(self, text: str, *, dim: bool = False) -> None:
        """Write a model's or a file's own text: unchanged into a pipe, without control characters on a terminal."""
        shown = visible(text) if sys.stdout.isatty() else text
        sys.stdout.write(f"{DIM}{shown}{RESET}" if dim and self.color_out else shown)
        sys.stdout.flush()

    def json(self, value: Any) -> None:
        sys.stdout.write(_escaped(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()) + "\n")

    def json_line(self, value: Any) -> None:
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
        """Write aligned columns with their titles on top; `right` names the columns of numbers.

        On a terminal the table fits its width: columns of `elide` (the first one if none is named) lose the middle of
        their cells, columns of `spare` are left out in their order. A pipe gets every column in full.
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
        """Show one line on stderr, redrawn within the terminal's width; "" clears it. A pipe gets it now and then."""
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
        self.progress("")
        for label, color, text in (("error:", RED, error.message), ("hint:", YELLOW, error.hint)):
            if text:
                shown = visible(text).replace("\n", "\n  ")
                sys.stderr.write(f"{color}{label}{RESET} {shown}\n" if self.color_err else f"{label} {shown}\n")

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Return whether to go on with an act that removes something: at once with `yes`, else as the terminal answers.

        The question goes to stderr, the answer is read from stdin. Raises RequestError where stdin is no terminal.
        """
        if yes:
            return True
        if not sys.stdin.isatty():
            raise RequestError(
                f"not confirmed: {question}",
                hint="stdin is no terminal to ask on; give --yes to go on without a question",
            )
        self.progress("")
        sys.stderr.write(f"{one_line(question)} [y/N] ")
        sys.stderr.flush()
        if _answer() in ("y", "yes"):
            return True
        self.note("nothing was changed")
        return False

    def restore_terminal(self) -> None:
        """Leave the terminal usable when a signal ends the command in the middle of a line."""
        with contextlib.suppress(OSError, ValueError):  # after SIGHUP there is no terminal left
            if self._redraws:
                sys.stderr.write(BACK_TO_NORMAL)
            self.progress("")


def _answer() -> str:
    """Return one line of stdin. Ctrl-C interrupts it at once, also inside of asyncio, whose own handler only waits."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return sys.stdin.readline().strip().lower()
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _columns(stream: TextIO) -> int:
    """Return the width of the terminal behind `stream`; it is asked each time, since terminals are resized."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or FALLBACK_COLUMNS
    except (OSError, ValueError):
        return shutil.get_terminal_size((FALLBACK_COLUMNS, 24)).columns


def _cell(text: str, width: int, right: bool) -> str:
    text = elided(text, width)
    blank = " " * (width - cells(text))
    return blank + text if right else text + blank


def one_line(text: str) -> str:
    """Return foreign `text` as one line that changes nothing around it.

    Replaced are control characters (C1, newlines and tabs among them), bidirectional controls, zero-width characters
    and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if unicodedata.category(c) == "Zs" else REPLACED for c in text)


def visible(text: str) -> str:
    """Return foreign `text` of several lines without what a terminal would obey; newlines, tabs and joiners stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or _harmless(c) else REPLACED for c in text)


def _harmless(character: str) -> bool:
    """Return whether an unprintable character may stay in running text: unassigned ones may be newer emoji."""
    return character in "\n\t" or character in JOINERS or unicodedata.category(character) in ("Zs", "Co", "Cn")


def _escaped(json: str) -> str:
    """Return JSON with what a terminal would obey written as \\u escapes, which mean the same to every reader."""
    if json.replace("\n", "").isprintable():
        return json
    return "".join(c if c == "\n" or c.isprintable() or _harmless(c) else _escape(c) for c in json)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
