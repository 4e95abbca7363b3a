"""The log of the daemon: a file of bounded size, the last lines in memory for clients, and the terminal.

It never has prompt text. Every line has passed `contract/text.py`: it is one line of bounded length, without secrets.
"""

import asyncio
import logging
import traceback
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_daemon.contract.errors import StartupError
from lmx_daemon.contract.text import one_line, shortened, without_secrets
from lmx_daemon.monitor.console import Console
from lmx_daemon.monitor.log_file import LogFile
from lmx_daemon.monitor.log_levels import Levels, source_of
from lmx_daemon.settings.sections.logs import LogSettings

KEPT_LINES = 2000
MAX_CHARACTERS = 4000
"""Limit on the length of one line. The begin and the end of a longer one are kept."""


class Logs(logging.Handler):
    """Logging handler that writes the lines, keeps the last ones and wakes the clients that follow."""

    def __init__(self, file: Path, settings: LogSettings | None = None, console: Console | None = None) -> None:
        """Open the file. Raises StartupError if it cannot be written."""
        try:
            self._file = LogFile(file)
        except OSError as error:
            raise StartupError(
                f"cannot write {file}: {error.strerror}", hint="move it away, or set LMX_HOME to another place"
            ) from error
        super().__init__()  # after the file, since logging closes every handler that exists when the process ends
        self._lines: deque[tuple[int, LogLine]] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._console = console
        self.configure(settings or LogSettings())

    def install(self) -> None:
        """Make this handler the destination of lmx's and uvicorn's log records."""
        logger = logging.getLogger("lmx")
        logger.setLevel(self._levels.lowest)
        logger.propagate = False
        logger.handlers = [self]
        errors = logging.getLogger("uvicorn.error")
        errors.setLevel(logging.WARNING)
        errors.propagate = False
        errors.handlers = [self]

    def configure(self, settings: LogSettings) -> None:
        """Put levels and bounds of the file in force."""
        self._levels = Levels(settings.level, settings.levels)
        self._file.bound(settings.file_bytes, settings.files)
        logger = logging.getLogger("lmx")
        if self in logger.handlers:
            logger.setLevel(self._levels.lowest)

    def emit(self, record: logging.LogRecord) -> None:
        """Write and keep the record as one line, and wake the clients that follow."""
        if not self._levels.admit(record):
            return
        line = line_of(record)
        self._count += 1
        self._lines.append((self._count, line))
        self._changed.set()
        self._file.write(line)
        if self._console is not None:
            self._console.write(line)

    def end(self) -> None:
        """End all streams after the last line, so that no client delays the shutdown."""
        self._ended = True
        self._changed.set()

    async def lines(self, tail: int, follow: bool) -> AsyncIterator[LogLine | None]:
        """Yield the last `tail` lines, then new ones with `follow`; None about once a second without new lines."""
        seen = self._count - max(0, min(tail, len(self._lines)))
        while True:
            self._changed.clear()
            for number, line in list(self._lines):
                if number > seen:
                    seen = number
                    yield line
            if not follow or self._ended:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), 1.0)
            except TimeoutError:
                yield None

    def close(self) -> None:
        """Write the last lines to the terminal, and close the file."""
        if self._console is not None:
            self._console.close()
        self._file.close()
        super().close()

    def of_request(self, identity: str) -> list[LogLine]:
        """Return the kept lines of one request."""
        return [line for _, line in self._lines if line.request == identity]


def line_of(record: logging.LogRecord) -> LogLine:
    """Return the record as a line, with the traceback of an exception in its data."""
    data: dict[str, Any] = {
        name: _clean(value) if isinstance(value, str) else value for name, value in getattr(record, "data", {}).items()
    }
    request = getattr(record, "request", None)
    if record.exc_info and record.exc_info[0] is not None:
        data["traceback"] = _clean("".join(traceback.format_exception(*record.exc_info)))
    return LogLine(
        at=record.created,
        level=record.levelname.lower(),
        source=_clean(source_of(record.name)),
        message=_clean(record.getMessage()),
        request=request and _clean(request),
        data=data,
    )


def _clean(text: str) -> str:
    return shortened(one_line(shortened(without_secrets(text), MAX_CHARACTERS)), MAX_CHARACTERS)


def log(
    source: str, level: str, message: str, request: str | None = None, data: Mapping[str, Any] | None = None
) -> None:
    """Write one line to the log. `request` is the id of the request that it belongs to, `data` has its figures."""
    text = f"[{request}] {message}" if request else message
    logging.getLogger(f"lmx.{source}").log(
        logging.getLevelNamesMapping().get(level.upper(), logging.INFO),
        text,
        extra={"request": request, "data": data or {}},
    )
