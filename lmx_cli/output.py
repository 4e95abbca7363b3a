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

from lmx_cli.chat.wrapping import WordWrap
from lmx_cli.text.layout import GAP, cells, elided, filled, fitted, progress_line
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
NAME_COLUMN = "MODEL"
"""Title of the column whose cells are cut last."""
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
        self._wrap: WordWrap | None = None
        self._dim = False

    def text(self, *lines: str) -> None:
        """Write data, one line for each argument. Foreign text cannot start another line."""
        sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines or ("",)))
        sys.stdout.flush()

    def content(self, text: str, *, dim: bool = False) -> None:
        """Write text of a model or a file: unchanged to a pipe, without control characters to a terminal."""
        shown = visible(text) if sys.stdout.isatty() else text
        sys.stdout.write(f"{DIM}{shown}{RESET}" if dim and self.color_out else shown)
        sys.stdout.flush()

    def words(self, text: str, *, dim: bool = False) -> None:
        """Write a piece of an answer. On a terminal, lines are cut between words; a pipe gets it unchanged."""
        if not sys.stdout.isatty():
            self.content(text)
            return
        self._dim = dim
        self._wrap = self._wrap or WordWrap()
        self.content(self._wrap.add(text, _columns(sys.stdout)), dim=dim)

    def end_words(self) -> None:
        """Write what `words` holds back. The next piece begins another answer."""
        if self._wrap is not None:
            self.content(self._wrap.end(_columns(sys.stdout)), dim=self._dim)
            self._wrap = None

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

        On a terminal, the table fits the width: columns of `elide` lose the middle of their cells, and columns of
        `spare` are left out in the given order. The column of the row's name, MODEL or else the first, is cut last.
        A pipe gets all columns in full.
        """
        main = NAME_COLUMN if NAME_COLUMN in columns else columns[0]
        table = [[one_line(cell) for cell in row] for row in rows]
        widths = {name: max(len(name), *(cells(row[i]) for row in table)) for i, name in enumerate(columns)}
        if sys.stdout.isatty():
            room = _columns(sys.stdout)
            widths = fitted(columns, list(widths.values()), room, spare=spare, elide=elide, name=main)
        for line, bold in [(columns, self.color_out), *((row, False) for row in table)]:
            shown = dict(zip(columns, line, strict=True))
            text = (" " * GAP).join(_cell(shown[name], width, name in right) for name, width in widths.items())
            sys.stdout.write(f"{BOLD}{text.rstrip()}{RESET}\n" if bold else text.rstrip() + "\n")

    def fields(self, rows: Sequence[tuple[str, str]], *, marks: Sequence[str] = ()) -> None:
        """Write names and values in two columns, with a mark in front of each name if `marks` are given.

        On a terminal, a long value goes on below its beginning.
        """
        width = max((cells(name) for name, _ in rows), default=0)
        room = _columns(sys.stdout) if sys.stdout.isatty() else None
        for number, (name, value) in enumerate(rows):
            head = (f"{marks[number]} " if marks else "") + name + " " * (width - cells(name) + GAP)
            blank, text = " " * cells(head), one_line(value)
            self.text(*([(head + text).rstrip()] if room is None else filled(text, room, head=head, indent=blank)))

    def paragraph(self, text: str, *, indent: int = 0) -> None:
        """Write running text as data. On a terminal, lines are cut between words and have the same indent."""
        blank, line = " " * indent, one_line(text)
        room = _columns(sys.stdout) if sys.stdout.isatty() else None
        self.text(*([blank + line] if room is None else filled(line, room, head=blank, indent=blank)))

    def note(self, *lines: str) -> None:
        """Write remarks to stderr, one line for each argument. On a terminal, lines are cut between words."""
        room = _columns(sys.stderr) if sys.stderr.isatty() else None
        for line in map(one_line, lines):
            for part in [line] if room is None else filled(line, room, indent="  "):
                sys.stderr.write((f"{DIM}{part}{RESET}" if self.color_err else part) + "\n")
        sys.stderr.flush()

    def progress(self, text: str, fraction: float | None = None, details: Sequence[str] = ()) -> None:
        """Show one line on stderr: a name or a remark, a bar for the fraction that is done, and details; "" clears it.

        It fits the width of the terminal. A pipe gets a line every PROGRESS_SECONDS, without a bar.
        """
        share = () if fraction is None else (f"{fraction:.0%}",)
        line = one_line(": ".join(part for part in (text, " · ".join([*share, *details])) if part))
        if line == self._progress:
            return
        if self._redraws:
            room, plain = _columns(sys.stderr) - 1, not _draws_blocks(sys.stderr)
            shown = progress_line(one_line(text), fraction, [*map(one_line, details)], room, ascii_only=plain)
            sys.stderr.write(f"\r\x1b[K{shown}")
        elif text and time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
            sys.stderr.write(line + "\n")
            self._progress_at = time.monotonic()
        self._progress = line
        sys.stderr.flush()

    def error(self, error: LmxError) -> None:
        """Write an error and its hint to stderr."""
        self.progress("")
        room = _columns(sys.stderr) if sys.stderr.isatty() else None
        for label, color, text in (("error:", RED, error.message), ("hint:", YELLOW, error.hint)):
            if text:
                shown = visible(text).replace("\n", "\n  ")
                if room is not None:
                    lines = (filled(line, room - cells(label) - 1, indent="  ") for line in shown.split("\n"))
                    shown = "\n".join(part for parts in lines for part in parts)
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


def _draws_blocks(stream: TextIO) -> bool:
    """Return whether the encoding of a stream has the characters of a progress bar."""
    return (stream.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")


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
