"""The rate limit of downloads, shared by all their threads."""

import threading
import time
from collections.abc import Callable

BURST_SECONDS = 0.25
"""Time of unused rate that may be spent at once."""


class Throttle:
    """Token bucket. A caller that takes more bytes than are available waits afterwards.

    `rate` returns the bytes per second that are allowed now; None sets no limit.
    """

    def __init__(self, rate: Callable[[], int | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.rate = rate
        self._last = rate()
        self._left = 0.0
        self._at = clock()

    def delay(self, count: int) -> float:
        """Take `count` bytes. Return the seconds to wait before the next ones, at the current rate."""
        rate = self.rate()
        with self._lock:
            now = self._clock()
            if rate != self._last:
                self._last, self._left, self._at = rate, 0.0, now
            if rate is None:
                return 0.0
            self._left = min(rate * BURST_SECONDS, self._left + (now - self._at) * rate)
            self._at = now
            self._left -= count
            return max(0.0, -self._left / rate)
