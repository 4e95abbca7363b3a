"""The worker's end of the socketpair: frames in on the main thread, frames out on a thread of its own.

The engine thread never touches the socket: it leaves frames in the outbox, which holds a bounded number of bytes. The
writer also beats the heart, so that a heartbeat says how far the engine has come, not only that the process lives.
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

from lmx_daemon.contract.frames import Decoder, Encoder, Events, Heartbeat, ToWorker
from lmx_daemon.worker.submissions import Submissions

OUTBOX_BYTES = 8 * 1024 * 1024
HEARTBEAT_SECONDS = 0.5
FLUSH_SECONDS = 1.0
READ_BYTES = 256 * 1024


class HeartbeatCounters:
    """Counters of finished work, for the heartbeat. The engine thread and the prompts thread write them, each its own;
    the writer thread reads them."""

    def __init__(self) -> None:
        self.steps = 0
        self.decode_tokens = 0
        self.prefill_tokens = 0
        self.running = 0
        self.waiting = 0
        self.busy = False
        self.submissions = Submissions()
        self._preparing = False
        self._prepared = 0
        self._credited = 0
        self._credit_until = 0.0

    @contextlib.contextmanager
    def preparation(self) -> Iterator[None]:
        """Mark the time in which a prompt is being prepared."""
        self.advance(0.0)
        self._preparing = True
        try:
            yield
        finally:
            self._preparing = False

    def advance(self, seconds: float) -> None:
        """Count a finished piece of a prompt's preparation; the next `seconds` count as progress, too."""
        self._prepared += 1
        self._credit_until = time.monotonic() + seconds

    def heartbeat(self) -> Heartbeat:
        if self._preparing and time.monotonic() < self._credit_until:
            self._credited += 1
        return Heartbeat(
            steps=self.steps,
            busy=self.busy,
            running=self.running,
            waiting=self.waiting + self.submissions.preparing,
            decode_tokens=self.decode_tokens,
            prefill_tokens=self.prefill_tokens,
            preparing=self._preparing,
            prepared=self._prepared + self._credited,
        )


class WorkerLink:
    def __init__(self, connection: socket.socket, counters: HeartbeatCounters) -> None:
        self._connection = connection
        self._counters = counters
        self._encoder = Encoder()
        self._outbox: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)

    def start(self) -> None:
        self._writer.start()

    def send(self, message: Any, *, wait: bool = True) -> None:
        """Queue a message, from any thread. Waits while the outbox is full, which pauses the engine and bounds its
        memory; without `wait` the bound is ignored."""
        with self._changed:
            frame = self._encoder.encode(message)
            while wait and self._waiting_bytes > OUTBOX_BYTES:
                self._changed.wait()
            self._outbox.append(frame)
            self._waiting_bytes += len(frame)
            self._changed.notify_all()

    def messages(self) -> Iterator[ToWorker]:
        """Yield the daemon's messages until it closes its end. Raises FrameError."""
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
        """Waits until what was sent has left, or a second has passed."""
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
            with contextlib.suppress(OSError):  # the reader sees the same end and leaves
                self._connection.sendall(b"".join(frames))
            with self._changed:
                self._waiting_bytes = sum(map(len, self._outbox))
                self._changed.notify_all()


class HangUpWatcher:
    """A thread that calls `act` when the daemon's end of the socket closes, even during imports or a long step."""

    def __init__(self, connection: socket.socket) -> None:
        self.act: Callable[[], None] = exit_now
        self._closed = select.poll()
        self._closed.register(connection, select.POLLHUP)  # Linux always reports it, macOS if it is asked for
        threading.Thread(target=self._wait, name="hang-up", daemon=True).start()

    def _wait(self) -> None:
        while not self._closed.poll():
            time.sleep(HEARTBEAT_SECONDS)
        self.act()


def exit_now(code: int = 0) -> None:
    """End the process at once, whatever its threads are stuck in."""
    os._exit(code)
