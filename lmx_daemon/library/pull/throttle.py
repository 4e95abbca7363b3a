"""The rate limit of downloads, shared by all their threads."""

import threading
import time
from collections.abc import Callable

BURST_SECONDS = 0.25
"""Time of unused rate that may be spent at once."""


class Throttle:
    """Token bucket. A caller that takes more bytes than available waits afterwards. A rate of None is no limit."""

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rate = rate
        self._left = 0.0
        self._at = clock()

    @property
    def rate(self) -> int | None:
        """Bytes per second; None without a limit."""
        return self._rate

    def set_rate(self, rate: int | None) -> None:
        """Change the limit from now on."""
        with self._lock:
            self._rate = rate
            self._left = 0.0
            self._at = self._clock()

    def delay(self, count: int) -> float:
        """Take `count` bytes, and return the seconds to wait before the next ones."""
        with self._lock:
            if self._rate is None:
                return 0.0
            now = self._clock()
            self._left = min(self._rate * BURST_SECONDS, self._left + (now - self._at) * self._rate)
            self._at = now
            self._left -= count
            return max(0.0, -self._left / self._rate)
