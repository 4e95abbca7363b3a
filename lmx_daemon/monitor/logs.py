"""The log of the daemon: a file of bounded size, and the last lines in memory for clients. It never has prompt text."""

import asyncio
import logging
import logging.handlers
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_daemon.contract.errors import StartupError
from lmx_daemon.contract.text import one_line, shortened, without_secrets
from lmx_daemon.storage.durable import open_regular

FILE_BYTES = 8 * 1024 * 1024
FILES = 3
KEPT_LINES = 2000
MAX_CHARACTERS = 4000
"""Limit on the length of one line. The begin and the end of a longer one are kept."""
FORM = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


class OneLine(logging.Formatter):
    """Formatter that makes one line of each record, whatever text of a client, a model or a traceback it contains."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of bounded length without control, C1 and bidi characters."""
        return _line(super().format(record))


class LogFile(logging.handlers.RotatingFileHandler):
    """File handler that drops records that cannot be written; logging would print a traceback for each."""

    def _open(self) -> Any:
        """Open the file without following a link in its place. Raises OSError."""
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=open_regular)

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record."""


class Logs(logging.Handler):
    """Logging handler that keeps the last lines and wakes the clients that follow."""

    def __init__(self, file: Path) -> None:
        """Open the file. Raises StartupError if it cannot be written."""
        super().__init__()
        self._lines: deque[tuple[int, LogLine]] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._changed = asyncio.Event()
        self._ended = False
        try:
            self._file = LogFile(
                file, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            raise StartupError(
                f"cannot write {file}: {error.strerror}", hint="move it away, or set LMX_HOME to another place"
            ) from error
        self._file.setFormatter(OneLine(FORM))

    def install(self) -> None:
        """Make this handler and its file the destination of lmx's and uvicorn's log records."""
        logger = logging.getLogger("lmx")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [self, self._file]
        errors = logging.getLogger("uvicorn.error")
        errors.setLevel(logging.WARNING)
        errors.propagate = False
        errors.handlers = [self, self._file]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record as one line, and wake the clients that follow."""
        self._count += 1
        line = LogLine(
            at=record.created,
            level=record.levelname.lower(),
            source=record.name.removeprefix("lmx.").removeprefix("lmx") or "daemon",
            message=_line(record.getMessage()),
            request=getattr(record, "request", None),
        )
        self._lines.append((self._count, line))
        self._changed.set()

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

    def of_request(self, identity: str) -> list[LogLine]:
        """Return the kept lines of one request."""
        return [line for _, line in self._lines if line.request == identity]


def _line(text: str) -> str:
    return shortened(one_line(shortened(without_secrets(text), MAX_CHARACTERS)), MAX_CHARACTERS)


def log(source: str, level: str, message: str, request: str | None = None) -> None:
    """Write one line to the log. `request` is the id of the request that it belongs to."""
    text = f"[{request}] {message}" if request else message
    logging.getLogger(f"lmx.{source}").log(
        logging.getLevelNamesMapping().get(level.upper(), logging.INFO), text, extra={"request": request}
    )
