"""Everything the command line writes, and the codes it exits with.

stdout is data; stderr is talk: progress, notes, `error:` and `hint:` lines. Nothing else in lmx_cli prints.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

from lmx_daemon.contract.errors import LmxError


class ExitCode(IntEnum):
    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_RUNNING = 3
    INTERRUPTED = 130


PROGRESS_SECONDS = 2.0
"""Between two progress lines where there is no terminal to redraw."""
DIM, RED, YELLOW, BOLD, RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"


class Output:
    """The sink. Colour goes to terminals only, and never where NO_COLOR is set."""

    def __init__(self) -> None:
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.color_out = sys.stdout.isatty() and not plain
        self.color_err = sys.stderr.isatty() and not plain
        self.interactive = sys.stdout.isatty() and sys.stdin.isatty()
        self._redraws = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._progress = ""
        self._progress_at = 0.0

    def text(self, text: str, *, end: str = "\n") -> None:
        """Data, as it is, at once. On a terminal, control characters of foreign text are shown, not obeyed."""
        sys.stdout.write((visible(text) if sys.stdout.isatty() else text) + end)
        sys.stdout.flush()

    def dim(self, text: str, *, end: str = "\n") -> None:
        """Data of lesser weight: thinking, on a terminal."""
        shown = visible(text) if sys.stdout.isatty() else text
        sys.stdout.write((f"{DIM}{shown}{RESET}" if self.color_out else shown) + end)
        sys.stdout.flush()

    def json(self, value: Any) -> None:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")

    def json_line(self, value: Any) -> None:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        right: Sequence[str] = (),
        spare: Sequence[str] = (),
    ) -> None:
        """Aligned columns, the names on top; `right` names those that hold numbers, `spare` those that are left out,
        the first ones first, where the terminal is too narrow for all."""
        cells = [[visible(cell) for cell in row] for row in rows]
        widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)]
        for name in spare:
            if self._fits([*widths[:-1], len(columns[-1])]):
                break
            at = columns.index(name)
            columns = [*columns[:at], *columns[at + 1 :]]
            cells = [[*row[:at], *row[at + 1 :]] for row in cells]
            del widths[at]
        for line, bold in [(columns, self.color_out), *((row, False) for row in cells)]:
            text = "  ".join(
                cell.rjust(width) if column in right else cell.ljust(width)
                for cell, width, column in zip(line, widths, columns, strict=True)
            ).rstrip()
            sys.stdout.write(f"{BOLD}{text}{RESET}\n" if bold else text + "\n")

    def _fits(self, widths: Sequence[int]) -> bool:
        """Only a terminal has an edge."""
        return not sys.stdout.isatty() or sum(widths) + 2 * (len(widths) - 1) <= shutil.get_terminal_size().columns

    def note(self, text: str) -> None:
        sys.stderr.write((f"{DIM}{text}{RESET}" if self.color_err else text) + "\n")
        sys.stderr.flush()

    def progress(self, text: str) -> None:
        """One line on stderr: redrawn on a terminal ("" clears it), else said anew every few seconds."""
        if text == self._progress:
            return
        if self._redraws:
            sys.stderr.write(f"\r\x1b[K{visible(text)}")
        elif text and time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
            sys.stderr.write(visible(text) + "\n")
            self._progress_at = time.monotonic()
        self._progress = text
        sys.stderr.flush()

    def error(self, error: LmxError) -> None:
        self.progress("")
        label = f"{RED}error:{RESET}" if self.color_err else "error:"
        sys.stderr.write(f"{label} {visible(error.message)}\n")
        if error.hint:
            label = f"{YELLOW}hint:{RESET}" if self.color_err else "hint:"
            sys.stderr.write(f"{label} {visible(error.hint)}\n")


def visible(text: str) -> str:
    """`text` with every control character but newline and tab replaced, so that no model can drive the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" or ord(c) > 0x9F else "\N{REPLACEMENT CHARACTER}" for c in text)


def size(count: int | None) -> str:
    """Bytes in decimal units, as the Hub and Apple's disks count them: "4.6 GB"."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float | None) -> str:
    """ "3s", "4m05s", "2h10m"; "-" where it is not known."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def tokens(count: int | None) -> str:
    """A context length: "40k", "512"."""
    if count is None:
        return "-"
    return f"{count // 1024}k" if count >= 1024 else str(count)
