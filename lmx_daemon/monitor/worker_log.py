"""The output of workers, mainly crashes of native code: a pipe for each worker, and one file of bounded size.

Log lines of workers arrive as frames and go to the log of the daemon, not here.
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
"""Maximum size of the file. The old one is kept once, as *.1."""
READ_BYTES = 64 * 1024
PIPE_BYTES = 1024 * 1024
"""Largest capacity of a pipe without privileges."""
LAST_BYTES = 8 * 1024
"""Number of last bytes kept in memory: enough for the lines that a process prints when it aborts."""


class WorkerLog:
    """The file of all workers, used in `with` on the event loop; `open` creates the pipe of one worker."""

    def __init__(self, file: Path, file_bytes: int = FILE_BYTES) -> None:
        self._file = file
        self._file_bytes = file_bytes
        self._pipes: set[WorkerOutput] = set()

    def __enter__(self) -> Self:
        """Open the file. Raises StartupError if it cannot be written."""
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
        with suppress(OSError):  # a full disk loses lines and does not stop the daemon
            if self._out.tell() + len(data) > self._file_bytes:
                with suppress(FileNotFoundError):  # it was moved, and no new one could be opened
                    self._file.replace(self._file.with_name(f"{self._file.name}.1"))
                fresh = open_owned(self._file, "ab", buffering=0)
                self._out.close()
                self._out = fresh
            self._out.write(data)


class WorkerOutput:
    """Output of one worker, whose end is kept in memory. `sink` is the worker's stdout and stderr."""

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
        """Close the daemon's copy of `sink`, once the process has its own or could not be started."""
        os.close(self.sink)

    def last_words(self) -> str:
        """Return the last LAST_BYTES of the output of a worker that has ended."""
        self.drain()
        return self._tail.decode(errors="replace")

    def drain(self) -> None:
        """Read the current content of the pipe. The amount is bounded, since a process that inherited it may go on."""
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
        """Write one piece of output to the file, and return whether there was any.

        One piece at a time keeps endless output from blocking the event loop. Control characters are escaped, since
        the output may quote files of a model.
        """
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
