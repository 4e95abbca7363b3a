"""Looks after loaded models: hangs, crashes, time to live, readers that stopped reading, and shares of memory.

What it does is decided in plan.py; how a model leaves is loading.py's.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from lmx_daemon.contract.config import EngineSettings, ServerSettings
from lmx_daemon.contract.errors import CrashLoopError, WorkerHungError
from lmx_daemon.contract.types import Health, Model
from lmx_daemon.residency.background import Background
from lmx_daemon.residency.desk import Desk
from lmx_daemon.residency.journal import Journal
from lmx_daemon.residency.loading import Loader
from lmx_daemon.residency.plan import stalled_for, start_after
from lmx_daemon.residency.slot import Slot, Slots
from lmx_daemon.residency.ticket import Ticket
from lmx_daemon.residency.worker import Worker

TICK_SECONDS = 0.5
HUNG_SECONDS = 0.5
"""A hung worker has hardly longer to leave: whoever asks for its model next waits for its end."""


class Supervisor:
    """Acts on the pool's slots."""

    def __init__(
        self,
        slots: Slots,
        desk: Desk,
        loader: Loader,
        engine: EngineSettings,
        server: ServerSettings,
        *,
        journal: Journal,
        background: Background,
        release: Callable[[Ticket], None],
        reconsider: Callable[[Slot], None],
    ) -> None:
        """`release` ends a request of a reader that stalled; `reconsider` withdraws a load that no request needs."""
        self._slots = slots
        self._desk = desk
        self._loader = loader
        self._engine = engine
        self._server = server
        self._journal = journal
        self._background = background
        self._release = release
        self._reconsider = reconsider
        self._crashes: dict[str, list[float]] = defaultdict(list)
        self._ticked = math.inf
        self._since = 0.0
        """Of how long a worker was silent, what lies before says nothing of it."""
        self._late = min(engine.hang_seconds, server.stall_seconds) / 2

    def run(self) -> None:
        """Begin to look after models, every TICK_SECONDS."""
        self._background.every(TICK_SECONDS, "the supervisor", self._tick)

    def _tick(self) -> None:
        """Look after readers, models and memory. An error of one part is raised after the others had their turn."""
        now, before = time.monotonic(), self._ticked
        self._ticked = now
        if now - before - TICK_SECONDS > self._late:
            self._since = now  # the daemon stood still, and neither heard workers nor served readers
            return
        acts: list[Callable[[], None]] = [self._end_unread]
        acts += [partial(self._inspect, slot) for slot in self._slots]
        acts.append(self._loader.share_out)
        errors = []
        for act in acts:
            try:
                act()
            except Exception as error:  # a fault in one model's supervision must not end another's
                errors.append(error)
        if errors:
            raise errors[0]

    def _end_unread(self) -> None:
        for ticket in self._desk.unread(self._server.stall_seconds):
            self._release(ticket)

    def _inspect(self, slot: Slot) -> None:
        slot.sample()
        self._reconsider(slot)
        self._look_after(slot, time.monotonic())

    async def watch(self, slot: Slot, worker: Worker) -> None:
        """Until the worker's end. A crash is remembered; its tickets have been failed by then."""
        error = await asyncio.shield(worker.ended)
        if not worker.leaving:
            self._crashes[slot.model.id].append(time.monotonic())
            self._journal.tell("crashed", slot.model.id, error.message)
        if slot.state != "failed":
            self._slots.forget(slot)

    def crashes(self, model: Model) -> int:
        return len(self._crashes[model.id])

    def delay(self, model: Model) -> float:
        """Seconds to wait before it is started again. Raises CrashLoopError where it crashed too often of late."""
        limit, window = self._engine.max_restarts, self._engine.restart_window_seconds
        allowed = start_after(self._crashes[model.id], time.monotonic(), limit, window)
        if allowed.refused_for is not None:
            raise CrashLoopError(
                f"{model.id} has crashed {limit} times within {window:.0f} s",
                hint=f"it may be started again in {allowed.refused_for:.0f} s; the log tells why it crashed",
                retry_after=allowed.refused_for,
            )
        return allowed.wait

    def health(self) -> Health:
        """Return ok only while workers with work make progress and the daemon's own repeated work succeeds."""
        if (problem := self._background.problem()) is not None:
            return Health(ok=False, reason=problem)
        now = time.monotonic()
        for slot in self._slots:
            if slot.worker is not None and slot.state == "ready":
                stalled = stalled_for(slot.worker.beat(), now, self._since)
                if stalled > self._engine.hang_seconds / 2:
                    return Health(ok=False, reason=f"{slot.model.id} has made no progress for {stalled:.0f} s")
        return Health(ok=True)

    def _look_after(self, slot: Slot, now: float) -> None:
        worker = slot.worker
        if worker is None or not worker.alive or worker.leaving:
            return
        # Imports tell nothing of their progress, and may take long from a cold disk.
        limit = self._engine.hang_seconds if worker.hello is not None else self._engine.load_seconds
        if stalled_for(worker.beat(), now, self._since) > limit:
            self._end_hung(slot, worker, limit)
        elif (expires := slot.expires()) is not None and now > expires:
            self._journal.tell("expired", slot.model.id, "unloaded: not used for its time to live")
            self._background.run(self._loader.unload(slot, False))

    def _end_hung(self, slot: Slot, worker: Worker, limit: float) -> None:
        error = WorkerHungError(f"{slot.model.id} made no progress for {limit:g} s and was ended", hint="try again")
        self._journal.tell("hung", slot.model.id, error.message)
        self._crashes[slot.model.id].append(time.monotonic())
        worker.fail(error)
        worker.leaving = True
        slot.state = "leaving"
        slot.fail(error)
        self._background.run(worker.leave(min(self._engine.leave_seconds, HUNG_SECONDS)))
