"""The warm spare: a worker whose imports are done, waiting for a model."""

import asyncio
from collections.abc import Awaitable, Callable

from lmx_daemon.contract.errors import EngineMissingError, LmxError
from lmx_daemon.residency.worker import Worker

CALM_SECONDS, PATIENCE_SECONDS = 1.0, 15.0
POLL_SECONDS = 0.1
AGAIN_SECONDS, MOST_AGAIN_SECONDS = 0.5, 60.0
"""Before a spare that ended is replaced; doubled each time, until one is used."""


class Spare:
    """At most one. `take` gives it away; `prepare` makes the next."""

    def __init__(self, start: Callable[[], Awaitable[Worker]], enabled: bool, busy: Callable[[], bool]) -> None:
        self._start, self._busy = start, busy
        self._enabled = enabled
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._again = AGAIN_SECONDS

    @property
    def worker(self) -> Worker | None:
        return self._worker if self._worker is not None and self._worker.alive else None

    @property
    def state(self) -> str:
        """In words, for `lmx status`."""
        if not self._enabled:
            return "off"
        if self._problem:
            return self._problem
        worker = self.worker
        if worker is None:
            return "starting" if self._task and not self._task.done() else "none"
        return "warm" if worker.hello else "starting"

    def prepare(self, *, when_calm: bool = False) -> None:
        """Start one in the background, unless there is one or none can be started. Its imports take a processor for a
        second or two, so `when_calm` lets them wait until no request is being answered."""
        if self._enabled and not self._problem and self.worker is None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._prepare(when_calm))

    def take(self) -> Worker | None:
        """The spare, warm or still warming; None where there is none."""
        worker, self._worker = self.worker, None
        if worker is not None:
            self._again = AGAIN_SECONDS
            if self._task is not None:  # it would wait for the end of a worker that is no spare any more
                self._task.cancel()
                self._task = None
        return worker

    async def close(self, seconds: float) -> None:
        self._enabled = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if (worker := self.take()) is not None:
            await worker.leave(seconds)

    async def _prepare(self, when_calm: bool) -> None:
        """Keep a spare until it is taken: one that ends, or does not start, is replaced."""
        if when_calm:
            await self._calm()
        while self._enabled:
            try:
                self._worker = await self._start()
                await self._worker.ready()
                await asyncio.shield(self._worker.ended)
            except EngineMissingError as error:
                self._problem = error.message  # the next one would fail alike
                return
            except LmxError:
                pass
            self._worker = None
            await asyncio.sleep(self._again)
            self._again = min(2.0 * self._again, MOST_AGAIN_SECONDS)

    async def _calm(self) -> None:
        """Until nobody has been answered for a while, or that has been waited for long enough."""
        loop = asyncio.get_running_loop()
        latest, since = loop.time() + PATIENCE_SECONDS, loop.time()
        while loop.time() < min(latest, since + CALM_SECONDS):
            await asyncio.sleep(POLL_SECONDS)
            if self._busy():
                since = loop.time()
