"""Counters of finished work, from which heartbeat frames are made. Imports neither an engine nor the socket."""

import contextlib
import time
from collections.abc import Iterator

from lmx_daemon.contract.worker.messages import Heartbeat
from lmx_daemon.worker.submissions import Submissions


class HeartbeatCounters:
    """Counters. The engine thread and the prompt thread each write their own, and the writer thread reads all."""

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
        """Return the heartbeat frame of this moment."""
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
