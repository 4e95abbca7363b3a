"""The file of the log: a JSON object for each line, and a new file at a size."""

import logging
import logging.handlers
import time
from pathlib import Path
from typing import Any

import msgspec

from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_daemon.storage.durable import open_regular


class LogFile(logging.handlers.RotatingFileHandler):
    """File handler that drops records that cannot be written; logging would print a traceback for each."""

    def __init__(self, file: Path) -> None:
        """Open the file. Raises OSError."""
        super().__init__(file, encoding="utf-8", errors="backslashreplace")

    def bound(self, file_bytes: int, files: int) -> None:
        """Set the size at which a new file is begun, and the number of earlier ones that are kept."""
        self.maxBytes, self.backupCount = file_bytes, files

    def write(self, line: LogLine) -> None:
        """Write one line."""
        record = logging.makeLogRecord({"msg": encoded(line).decode()})
        self.handle(record)

    def _open(self) -> Any:
        """Open the file without following a link in its place. Raises OSError."""
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=open_regular)

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the record."""


def encoded(line: LogLine) -> bytes:
    """Return the line as JSON, with its time in a form that people read before the fields of LogLine."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(line.at))
    fields: dict[str, Any] = {"time": f"{moment}.{int(line.at * 1000) % 1000:03}Z"}
    fields |= {name: found for name in line.__struct_fields__ if (found := getattr(line, name))}
    return msgspec.json.encode(fields)
