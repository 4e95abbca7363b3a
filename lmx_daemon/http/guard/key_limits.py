"""The limits of API keys on requests at the same time and on requests a minute, counted in memory."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable

from lmx_daemon.contract.errors import RateLimitError
from lmx_daemon.contract.principal import Principal

WINDOW_SECONDS = 60.0
CONCURRENCY_RETRY_SECONDS = 1.0


class KeyLimits:
    """Counts of the requests of each key. The event loop owns it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: Counter[str] = Counter()
        self._begun: dict[str, deque[float]] = {}

    def enter(self, principal: Principal) -> None:
        """Count a request until `leave`. Raise RateLimitError, without counting it, if a limit is reached."""
        key = principal.key
        if key is None:
            return
        if principal.concurrency is not None and self._running[key] >= principal.concurrency:
            raise RateLimitError(
                f"the API key {key} has {principal.concurrency} requests in progress, its maximum",
                hint="wait for one of them to end",
                retry_after=CONCURRENCY_RETRY_SECONDS,
            )
        if principal.rate is not None:
            self._take(key, principal.rate)
        self._running[key] += 1

    def leave(self, principal: Principal) -> None:
        """End a request that has entered."""
        if principal.key is not None:
            self._running[principal.key] -= 1
            if not self._running[principal.key]:
                del self._running[principal.key]

    def _take(self, key: str, rate: int) -> None:
        now, begun = self._clock(), self._begun.setdefault(key, deque())
        while begun and begun[0] <= now - WINDOW_SECONDS:
            begun.popleft()
        if len(begun) >= rate:
            raise RateLimitError(
                f"the API key {key} has reached its limit of {rate} requests a minute",
                hint="the header Retry-After has the seconds to wait",
                retry_after=float(math.ceil(begun[-rate] + WINDOW_SECONDS - now)),
            )
        begun.append(now)
