"""Log lines on a screen: their selection by a filter, and their drawing. Pure."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_tui.formatting import clean, one_line, shorten

LEVELS = ("debug", "info", "warning", "error")
NAMES = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR", "critical": "FATAL"}
COLORS = {"debug": "faint", "info": "muted", "warning": "warning", "error": "error", "critical": "error"}
MAX_SEARCHED = 1000
"""Number of characters of a line in which a pattern is searched."""
SOURCE_CELLS = 12


@dataclass(frozen=True)
class LogCriteria:
    """The lines to show: those from a level on, and with `only_matches` those that match a pattern."""

    level: str = "info"
    pattern: str = ""
    only_matches: bool = True

    @property
    def regex(self) -> re.Pattern[str] | None:
        """Compiled pattern, which ignores case. An invalid pattern is searched as plain text."""
        if not self.pattern:
            return None
        try:
            return re.compile(self.pattern, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError):
            return re.compile(re.escape(self.pattern), re.IGNORECASE)

    def shows(self, line: LogLine, regex: re.Pattern[str] | None) -> bool:
        """Return whether a line is shown. `regex` is the filter's own, compiled once for many lines."""
        if line.level in LEVELS and LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        return regex is None or not self.only_matches or matches(line, regex)


def shown_lines(lines: Sequence[LogLine], wanted: LogCriteria) -> list[LogLine]:
    regex = wanted.regex
    return [line for line in lines if wanted.shows(line, regex)]


def matches(line: LogLine, regex: re.Pattern[str]) -> bool:
    return regex.search(searched(line)) is not None


def searched(line: LogLine) -> str:
    """Return the text that a pattern is searched in: level, source, request and message."""
    return f"{line.level} {line.source} {line.request or ''} {line.message}"[:MAX_SEARCHED]


def next_match(lines: Sequence[LogLine], at: int, step: int, regex: re.Pattern[str]) -> int | None:
    """Return the index of the nearest match in the direction of `step` from `at`. The search wraps around."""
    for distance in range(1, len(lines) + 1):
        index = (at + step * distance) % len(lines)
        if matches(lines[index], regex):
            return index
    return None


def line_text(line: LogLine, colors: Mapping[str, str], regex: re.Pattern[str] | None) -> Text:
    """Return a line as one row: time, level, source, message; matches of `regex` are reversed."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    text.append(time.strftime("%H:%M:%S ", time.localtime(line.at)), colors["muted"])
    text.append(f"{NAMES.get(line.level, one_line(line.level)[:5]):<6}", colors[COLORS.get(line.level, "muted")])
    text.append(f"{shorten(one_line(line.source), SOURCE_CELLS):<{SOURCE_CELLS + 1}}", colors["secondary"])
    strong = line.level in ("error", "critical")
    message = Text(one_line(line.message), colors["error"] if strong else colors["foreground"])
    if regex is not None:
        for start, end in _spans(message.plain, regex):
            message.stylize("bold reverse", start, end)
    return text.append_text(message)


def _spans(text: str, regex: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    for found in regex.finditer(text[:MAX_SEARCHED]):
        if found.end() > found.start():
            yield found.span()


def plain_line(line: LogLine) -> str:
    """Return a line as text for the clipboard, with the traceback of an error."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at))
    request = f" [{line.request}]" if line.request else ""
    text = clean(f"{when} {line.level} {line.source}{request} {line.message}")
    return f"{text}\n{clean(str(line.data['traceback']))}" if "traceback" in line.data else text
