"""What workers print, crashes of native code above all: they write into a pipe, the daemon into a file with a bound.

A worker's own log lines come as frames and are the daemon's log's; nothing here reads what is printed.
"""

import asyncio
import codecs
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from lmx_daemon.contract.errors import StartupError
from lmx_daemon.contract.files import open_owned
from lmx_daemon.contract.text import printable_lines

FILE_BYTES = 8 * 1024 * 1024
"""Then the file begins anew, and the old one is kept once, as *.1."""
READ_BYTES = 64 * 1024


class WorkerLog:
    """Use in a `with` inside the event loop; `sink` is what workers inherit as stdout and stderr."""

    def __init__(self, file: Path, file_bytes: int = FILE_BYTES) -> None:
        self._file = file
        self._file_bytes = file_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def __enter__(self) -> Self:
        """Raises StartupError where the file cannot be written."""
        try:
            self._out = open_owned(self._file, "ab", buffering=0)
        except OSError as error:
            raise StartupError(
                f"cannot write {self._file}: {error.strerror}", hint="move it away, or set LMX_HOME to another place"
            ) from error
        self._source, sink = os.pipe()
        os.set_blocking(self._source, False)
        self.sink: IO[bytes] = open(sink, "wb", buffering=0)
        asyncio.get_running_loop().add_reader(self._source, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._source)
        while self._take():
            pass
        self.sink.close()
        os.close(self._source)
        self._out.close()

    def _take(self) -> bool:
        """Write some of what has been printed, if any: endless output must not hold the loop. Characters that drive a
        terminal become escapes, since what is printed may quote a model's files."""
        try:
            data = os.read(self._source, READ_BYTES)
        except BlockingIOError:
            return False
        text = printable_lines(self._decoder.decode(data))
        with suppress(OSError):  # a full disk loses lines, never the daemon
            self._write(text.encode())
        return True

    def _write(self, data: bytes) -> None:
        if self._out.tell() + len(data) > self._file_bytes:
            with suppress(FileNotFoundError):  # it was moved away, and no other could be opened then
                self._file.replace(self._file.with_name(f"{self._file.name}.1"))
            fresh = open_owned(self._file, "ab", buffering=0)
            self._out.close()
            self._out = fresh
        self._out.write(data)
