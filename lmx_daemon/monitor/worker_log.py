"""What workers print, crashes of native code above all: they write into a pipe, the daemon into a file with a bound.

A worker's own log lines come as frames and are the daemon's log's; nothing here reads what is printed.
"""

import asyncio
import codecs
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lmx_daemon.contract.errors import StartupError
from lmx_daemon.contract.text import printable_lines
from lmx_daemon.storage.durable import open_owned

FILE_BYTES = 8 * 1024 * 1024
"""Then the file begins anew, and the old one is kept once, as *.1."""
READ_BYTES = 64 * 1024
PIPE_BYTES = 1024 * 1024
"""The largest pipe that a system gives without privileges."""
LAST_BYTES = 8 * 1024
"""Enough for the lines that a process prints when it aborts."""


class WorkerLog:
    """Use in a `with` inside the event loop; `open` makes the pipe of one worker."""

    def __init__(self, file: Path, file_bytes: int = FILE_BYTES) -> None:
        self._file = file
        self._file_bytes = file_bytes
        self._pipes: set[WorkerOutput] = set()

    def __enter__(self) -> Self:
        """Raises StartupError where the file cannot be written."""
        try:
            self._out = open_owned(self._file, "ab", buffering=0)
        except OSError as error:
            raise StartupError(
                f"cannot write {self._file}: {error.strerror}", hint="move it away, or set LMX_HOME to another place"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in list(self._pipes):
            pipe.drain()
            pipe.close()
        self._out.close()

    def open(self) -> "WorkerOutput":
        """Return the pipe of a worker that is about to start. Raises OSError."""
        pipe = WorkerOutput(self._write, self._pipes.discard)
        self._pipes.add(pipe)
        return pipe

    def _write(self, data: bytes) -> None:
        with suppress(OSError):  # a full disk loses lines, never the daemon
            if self._out.tell() + len(data) > self._file_bytes:
                with suppress(FileNotFoundError):  # it was moved away, and no other could be opened then
                    self._file.replace(self._file.with_name(f"{self._file.name}.1"))
                fresh = open_owned(self._file, "ab", buffering=0)
                self._out.close()
                self._out = fresh
            self._out.write(data)


class WorkerOutput:
    """What one worker prints, with its end kept in memory. `sink` is the worker's stdout and stderr."""

    def __init__(self, write: Callable[[bytes], None], on_close: Callable[["WorkerOutput"], None]) -> None:
        self._write = write
        self._on_close = on_close
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._tail = bytearray()
        self._source, self.sink = os.pipe()
        self._open = True
        os.set_blocking(self._source, False)
        asyncio.get_running_loop().add_reader(self._source, self._take)

    def started(self) -> None:
        """Close the daemon's copy of `sink`: the process has its own, or could not be started."""
        os.close(self.sink)

    def last_words(self) -> str:
        """Return the last LAST_BYTES of what the worker printed, which has ended."""
        self.drain()
        return self._tail.decode(errors="replace")

    def drain(self) -> None:
        """Read what the pipe holds now; a process that inherited it must not hold the loop."""
        for _ in range(PIPE_BYTES // READ_BYTES):
            if not self._open or not self._take():
                return

    def close(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._source)
            os.close(self._source)
            self._on_close(self)

    def _take(self) -> bool:
        """Write some of what has been printed, if any: endless output must not hold the loop. Characters that drive a
        terminal become escapes, since what is printed may quote a model's files."""
        try:
            data = os.read(self._source, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self._tail = (self._tail + data)[-LAST_BYTES:]
        self._write(printable_lines(self._decoder.decode(data)).encode())
        return True
