"""The decision when the machine is kept awake, and its act. It does not know what the work is."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from lmx_daemon.power.inhibitor import Inhibitor, inhibit

LOOK_SECONDS = 1.0
RELEASE_SECONDS = 5.0
"""Time without work after which the machine may sleep again; clients of agents pause between two requests."""
RETRY_SECONDS = 600.0
"""Time after a failure until the next try."""


class Awake:
    """Keeps the machine awake while there is work. Work that ends between two looks is not seen."""

    def __init__(
        self,
        enabled: Callable[[], bool],
        busy: Callable[[], bool],
        report: Callable[[str], None],
        *,
        start: Callable[[], Inhibitor] = inhibit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without an inhibitor. `report` gets one line for each new reason why there is none."""
        self._enabled = enabled
        self._busy = busy
        self._report = report
        self._start = start
        self._clock = clock
        self._held: Inhibitor | None = None
        self._worked: float | None = None
        self._retry: float | None = None
        self._failure = ""

    async def look(self) -> None:
        """Start or release the inhibitor. To be called every LOOK_SECONDS."""
        now = self._clock()
        wanted = self._wanted(now)
        if self._held is not None and (failure := self._held.failure()) is not None:
            await self.close()
            self._failed(failure, now)
        if not wanted:
            await self.close()
        elif self._held is None and (self._retry is None or now >= self._retry):
            try:
                self._held = await asyncio.to_thread(self._start)
            except OSError as error:
                self._failed(str(error.strerror or error), now)

    async def close(self) -> None:
        """Let the machine sleep again."""
        held, self._held = self._held, None
        if held is not None:
            with suppress(OSError):
                await asyncio.to_thread(held.release)

    def _wanted(self, now: float) -> bool:
        if self._busy():
            self._worked = now
        recent = self._worked is not None and now - self._worked < RELEASE_SECONDS
        return recent and self._enabled()

    def _failed(self, failure: str, now: float) -> None:
        self._retry = now + RETRY_SECONDS
        if failure != self._failure:
            self._failure = failure
            self._report(f"the machine may fall asleep while requests run: {failure}")
