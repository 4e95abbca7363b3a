"""The warm spare: a worker whose imports are done, and which waits for a model."""

import asyncio
from collections.abc import Awaitable, Callable

from lmx_daemon.contract.errors import EngineMissingError, LmxError
from lmx_daemon.contract.worker.messages import EngineKind
from lmx_daemon.residency.worker import Worker

CALM_SECONDS, PATIENCE_SECONDS = 1.0, 15.0
"""Time without requests before a spare is started, and time after which it is started anyway."""
POLL_SECONDS = 0.1
"""Time between two looks for requests."""
AGAIN_SECONDS, MOST_AGAIN_SECONDS = 0.5, 60.0
"""Time before a spare that ended is replaced, first and at most. It doubles each time, until a spare is used."""


class Spare:
    """The spare worker, at most one. `take` gives it away, and `prepare` starts the next."""

    kind: EngineKind = "text"
    """Engine kind of the spare."""

    def __init__(
        self, start: Callable[[EngineKind], Awaitable[Worker]], enabled: bool, busy: Callable[[], bool]
    ) -> None:
        """Make a spare that has not started. `busy` returns whether a request is under way."""
        self._start, self._busy = start, busy
        self._enabled = enabled
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._again = AGAIN_SECONDS

    @property
    def worker(self) -> Worker | None:
        """The spare's process; None if there is none."""
        return self._worker if self._worker is not None and self._worker.alive else None

    @property
    def state(self) -> str:
        """State in words, for `lmx status`."""
        if not self._enabled:
            return "off"
        if self._problem:
            return self._problem
        worker = self.worker
        if worker is None:
            return "starting" if self._task and not self._task.done() else "none"
        return "warm" if worker.hello else "starting"

    def prepare(self, *, when_calm: bool = False) -> None:
        """Start a spare in the background, unless there is one or none can be started.

        Its imports take a processor for a second or two. With `when_calm` they wait until no request is answered.
        """
        if self._enabled and not self._problem and self.worker is None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._prepare(when_calm))

    def take(self) -> Worker | None:
        """Return the spare, whether or not its imports are done; None if there is none."""
        worker, self._worker = self.worker, None
        if worker is not None:
            self._again = AGAIN_SECONDS
            if self._task is not None:  # it would wait for the end of a worker that is in use now
                self._task.cancel()
                self._task = None
        return worker

    async def close(self, seconds: float) -> None:
        """End the spare, and start none any more."""
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
                self._worker = await self._start(self.kind)
                await self._worker.ready()
                await asyncio.shield(self._worker.ended)
            except EngineMissingError as error:
                self._problem = error.message  # the next one would fail in the same way
                return
            except LmxError:
                pass
            self._worker = None
            await asyncio.sleep(self._again)
            self._again = min(2.0 * self._again, MOST_AGAIN_SECONDS)

    async def _calm(self) -> None:
        """Return once no request was under way for CALM_SECONDS, or after PATIENCE_SECONDS."""
        loop = asyncio.get_running_loop()
        latest, since = loop.time() + PATIENCE_SECONDS, loop.time()
        while loop.time() < min(latest, since + CALM_SECONDS):
            await asyncio.sleep(POLL_SECONDS)
            if self._busy():
                since = loop.time()
