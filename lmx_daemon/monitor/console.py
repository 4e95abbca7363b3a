"""Log lines on the terminal of a daemon in the foreground.

A thread writes them, since a terminal that the user has paused blocks its writer. Lines that a paused terminal does not
take are dropped.
"""

import os
import queue
import threading
import time
from contextlib import suppress

from lmx_daemon.contract.admin.snapshot import LogLine

MAX_WAITING = 1000
CLOSE_SECONDS = 0.5


class Console:
    """The terminal, or whatever standard error is."""

    def __init__(self, descriptor: int) -> None:
        """Write to `descriptor` from a thread that starts with the first line."""
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="lmx-console", daemon=True)

    def write(self, line: LogLine) -> None:
        """Hand a line to the thread."""
        if self._thread.ident is None:
            self._thread.start()
        with suppress(queue.Full):
            self._lines.put_nowait(f"{readable(line)}\n".encode())

    def close(self) -> None:
        """Wait until the lines are written, but not for a terminal that takes none."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while (data := self._lines.get()) is not None:
            with suppress(OSError):  # the terminal is gone
                while data:
                    data = data[os.write(self._descriptor, data) :]


def readable(line: LogLine) -> str:
    """Return the line as people read it: time of day, level, source, message."""
    return f"{time.strftime('%H:%M:%S', time.localtime(line.at))} {line.level:<7} {line.source}: {line.message}"
