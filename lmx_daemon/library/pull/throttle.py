"""A bound on bytes a second, shared by every thread that downloads. None is no bound."""

import threading
import time
from collections.abc import Callable

BURST_SECONDS = 0.25
SMALLEST_RATE = 1024
"""Below it a pull would not be told from one that hangs."""


class Throttle:
    """A token bucket. Those who take more than there is owe it, and wait."""

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rate = rate
        self._left = 0.0
        self._at = clock()

    @property
    def rate(self) -> int | None:
        return self._rate

    def set_rate(self, rate: int | None) -> None:
        with self._lock:
            self._rate = rate
            self._left = 0.0
            self._at = self._clock()

    def owed(self, count: int) -> float:
        """Takes `count` bytes; how many seconds to wait before the next."""
        with self._lock:
            if self._rate is None:
                return 0.0
            now = self._clock()
            self._left = min(self._rate * BURST_SECONDS, self._left + (now - self._at) * self._rate)
            self._at = now
            self._left -= count
            return max(0.0, -self._left / self._rate)
