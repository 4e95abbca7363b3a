"""The worker's end of the socketpair: frames are received on the main thread and sent by a writer thread.

The engine thread never touches the socket. It puts frames into the outbox, which holds a bounded number of bytes. The
writer thread also sends the heartbeats. Their counters report the engine's progress; their arrival shows that the
process lives.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from lmx_daemon.contract.worker.frames import Decoder, Encoder
from lmx_daemon.contract.worker.messages import Events, ToWorker
from lmx_daemon.worker.heartbeat import HeartbeatCounters

OUTBOX_BYTES = 8 * 1024 * 1024
HEARTBEAT_SECONDS = 0.5
FLUSH_SECONDS = 1.0
READ_BYTES = 256 * 1024


class WorkerLink:
    """Connection to the daemon."""

    def __init__(self, connection: socket.socket, counters: HeartbeatCounters) -> None:
        self._connection = connection
        self._counters = counters
        self._encoder = Encoder()
        self._outbox: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)

    def start(self) -> None:
        """Start the writer thread."""
        self._writer.start()

    def send(self, message: Any, *, wait: bool = True) -> None:
        """Put a message into the outbox. Callable from any thread.

        Waits while the outbox is full, which pauses the engine and bounds its memory; without `wait` the bound is
        ignored.
        """
        with self._changed:
            frame = self._encoder.encode(message)
            while wait and self._waiting_bytes > OUTBOX_BYTES:
                self._changed.wait()
            self._outbox.append(frame)
            self._waiting_bytes += len(frame)
            self._changed.notify_all()

    def messages(self) -> Iterator[ToWorker]:
        """Yield the daemon's messages until the daemon closes its end. Raises FrameError."""
        decoder: Decoder[ToWorker] = Decoder(ToWorker)
        while True:
            try:
                data = self._connection.recv(READ_BYTES)
            except OSError:
                return
            if not data:
                return
            yield from decoder.feed(data)

    def flush(self) -> None:
        """Wait until the outbox has been sent, FLUSH_SECONDS at most."""
        deadline = time.monotonic() + FLUSH_SECONDS
        with self._changed:
            while self._waiting_bytes and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def _write(self) -> None:
        beat_at = 0.0
        while True:
            with self._changed:
                if not self._outbox:
                    self._changed.wait(max(0.0, beat_at - time.monotonic()))
                frames = list(self._outbox)
                self._outbox.clear()
            if time.monotonic() >= beat_at:
                if overdue := self._counters.submissions.overdue(time.monotonic()):
                    frames.append(self._encoder.encode(Events(events=tuple(overdue))))
                frames.append(self._encoder.encode(self._counters.heartbeat()))
                beat_at = time.monotonic() + HEARTBEAT_SECONDS
            if not frames:
                continue
            with contextlib.suppress(OSError):  # the main thread gets the same error and ends the process
                self._connection.sendall(b"".join(frames))
            with self._changed:
                self._waiting_bytes = sum(map(len, self._outbox))
                self._changed.notify_all()


class HangUpWatcher:
    """A thread that calls `act` when the daemon's end of the socket closes, even during imports or a long step."""

    def __init__(self, connection: socket.socket) -> None:
        self.act: Callable[[], None] = exit_now
        self._closed = select.poll()
        self._closed.register(connection, select.POLLHUP)  # Linux always reports it, macOS only if it is requested
        threading.Thread(target=self._wait, name="hang-up", daemon=True).start()

    def _wait(self) -> None:
        while not self._closed.poll():
            time.sleep(HEARTBEAT_SECONDS)
        self.act()


def take_connection() -> socket.socket:
    """Return the socket behind descriptor 0, and put an empty stdin there for foreign code and child processes."""
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as empty:
        os.dup2(empty.fileno(), 0)
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            # uvloop leaves copies of 0 to 2. In a child, a copy would keep the socket open after this process ends.
            os.set_inheritable(int(name), int(name) < 3)
    return connection


def exit_now(code: int = 0) -> None:
    """End the process at once, even if its threads are blocked."""
    os._exit(code)
