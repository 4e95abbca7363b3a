"""The warm spares: workers whose imports are done, and which wait for a model; at most one for each engine kind."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from lmx_daemon.contract.errors import EngineMissingError, LmxError
from lmx_daemon.contract.worker.messages import EngineKind
from lmx_daemon.residency.workers.worker import Worker

CALM_SECONDS, PATIENCE_SECONDS = 1.0, 15.0
"""Time without requests before a spare is started, and time after which it is started anyway."""
POLL_SECONDS = 0.1
"""Time between two checks for requests."""
AGAIN_SECONDS, MOST_AGAIN_SECONDS = 0.5, 60.0
"""Initial and maximum delay before a spare that ended is replaced. It doubles each time until a spare is used."""


class Spares:
    """The spares of the engine kinds that have one."""

    def __init__(
        self,
        kinds: Iterable[EngineKind],
        start: Callable[[EngineKind], Awaitable[Worker]],
        busy: Callable[[], bool],
    ) -> None:
        """Create the spares without starting them. `busy` returns whether a request is under way."""
        self._spares = {kind: Spare(partial(start, kind), busy) for kind in kinds}

    @property
    def workers(self) -> list[Worker]:
        """The processes of all spares."""
        return [spare.worker for spare in self._spares.values() if spare.worker is not None]

    @property
    def state(self) -> str:
        """State in words, for `lmx status`."""
        states = {kind: spare.state for kind, spare in self._spares.items()}
        if len(states) == 1:
            return next(iter(states.values()))
        return ", ".join(f"{kind}: {state}" for kind, state in states.items()) or "off"

    def prepare(self, *, when_calm: bool = False) -> None:
        """Start each spare that is missing; see `Spare.prepare`."""
        for spare in self._spares.values():
            spare.prepare(when_calm=when_calm)

    def take(self, kind: EngineKind) -> Worker | None:
        """Return the spare of a kind, whether or not its imports are done; None if there is none."""
        return self._spares[kind].take() if kind in self._spares else None

    async def close(self, seconds: float) -> None:
        """End all spares, and start no more."""
        await asyncio.gather(*(spare.close(seconds) for spare in self._spares.values()))


class Spare:
    """Spare worker. `take` hands it over, and `prepare` starts the next one."""

    def __init__(self, start: Callable[[], Awaitable[Worker]], busy: Callable[[], bool]) -> None:
        """Create a spare without starting it. `busy` returns whether a request is under way."""
        self._start, self._busy = start, busy
        self._closed = False
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
        if not self._closed and not self._problem and self.worker is None and (self._task is None or self._task.done()):
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
        """End the spare, and start no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if (worker := self.take()) is not None:
            await worker.leave(seconds)

    async def _prepare(self, when_calm: bool) -> None:
        """Keep a spare until it is taken. A spare that ends or does not start is replaced."""
        if when_calm:
            await self._calm()
        while not self._closed:
            try:
                self._worker = await self._start()
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
        """Wait until no request has been under way for CALM_SECONDS, or for PATIENCE_SECONDS at most."""
        loop = asyncio.get_running_loop()
        latest, since = loop.time() + PATIENCE_SECONDS, loop.time()
        while loop.time() < min(latest, since + CALM_SECONDS):
            await asyncio.sleep(POLL_SECONDS)
            if self._busy():
                since = loop.time()
