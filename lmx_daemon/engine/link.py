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
from collections.abc import Iterator
from typing import Any

from lmx_daemon.contract.frames import Decoder, Encoder, FrameError, Heartbeat, ToWorker

OUTBOX_BYTES = 8 * 1024 * 1024
HEARTBEAT_SECONDS = 0.5
FLUSH_SECONDS = 1.0
READ_BYTES = 256 * 1024


class Pulse:
    """What the engine has done so far; written by the engine thread, read by the writer."""

    def __init__(self) -> None:
        self.steps = 0
        self.decode_tokens = 0
        self.prefill_tokens = 0
        self.running = 0
        self.waiting = 0
        self.busy = False
        self.open: set[str] = set()
        """Requests that were taken and have had no terminal event."""
        self.dropped: set[str] = set()
        """Of the open ones, those that were cancelled; some may still be on their way to the engine."""

    def closed(self, identity: str) -> None:
        self.open.discard(identity)
        self.dropped.discard(identity)

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(
            steps=self.steps,
            busy=self.busy,
            running=self.running,
            waiting=self.waiting,
            decode_tokens=self.decode_tokens,
            prefill_tokens=self.prefill_tokens,
        )


class Link:
    def __init__(self, connection: socket.socket, pulse: Pulse) -> None:
        self._connection = connection
        self._pulse = pulse
        self._encoder = Encoder()
        self._outbox: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)

    def start(self) -> None:
        self._writer.start()

    def send(self, message: Any) -> None:
        """From any thread. Waits while the outbox is full: that pauses the engine, and bounds its memory."""
        with self._changed:
            frame = self._encoder.encode(message)
            while self._waiting_bytes > OUTBOX_BYTES:
                self._changed.wait()
            self._outbox.append(frame)
            self._waiting_bytes += len(frame)
            self._changed.notify_all()

    def messages(self) -> Iterator[ToWorker]:
        """What the daemon says, until it closes its end."""
        decoder: Decoder[ToWorker] = Decoder(ToWorker)
        while True:
            try:
                data = self._connection.recv(READ_BYTES)
            except OSError:
                return
            if not data:
                return
            try:
                yield from decoder.feed(data)
            except FrameError as error:
                print(f"worker: {error.message}", flush=True)
                return

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
                frames.append(self._encoder.encode(self._pulse.heartbeat()))
                beat_at = time.monotonic() + HEARTBEAT_SECONDS
            if not frames:
                continue
            with contextlib.suppress(OSError):  # the reader sees the same end and leaves
                self._connection.sendall(b"".join(frames))
            with self._changed:
                self._waiting_bytes = sum(map(len, self._outbox))
                self._changed.notify_all()


def leave_with(connection: socket.socket) -> None:
    """Ends this process when the daemon's end of the socket closes, even during imports or a long step."""
    closed = select.poll()
    closed.register(connection, select.POLLHUP)  # Linux always tells it, macOS where it is asked for

    def wait() -> None:
        while not closed.poll():
            time.sleep(HEARTBEAT_SECONDS)
        leave()

    threading.Thread(target=wait, name="hang-up", daemon=True).start()


def leave(code: int = 0) -> None:
    """Ends the process at once, whatever the engine thread is stuck in."""
    os._exit(code)
