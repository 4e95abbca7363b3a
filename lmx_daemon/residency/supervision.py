"""Looks after loaded models: hangs, crashes, time to live, readers that stopped reading, and shares of memory.

What it does is decided in plan.py; how a model leaves is loading.py's.
"""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial

from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.contract.errors import LmxError, OutOfMemoryError, WorkerHungError
from lmx_daemon.contract.models import Model
from lmx_daemon.residency.accounts import Accounts
from lmx_daemon.residency.active_request import ActiveRequest
from lmx_daemon.residency.background import Background
from lmx_daemon.residency.ends import Ends
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.loading import Loader
from lmx_daemon.residency.plan import exceeded, stalled_for
from lmx_daemon.residency.refusal import outgrown
from lmx_daemon.residency.request_registry import RequestRegistry
from lmx_daemon.residency.resident import Resident, Residents
from lmx_daemon.residency.worker import Worker
from lmx_daemon.settings.source import SettingsSource

TICK_SECONDS = 0.5
SAMPLES_ABOVE = 2
"""Samples in a row above what a worker may hold, after which it is ended: one alone may be a peak of a moment."""
HUNG_SECONDS = 0.5
"""Time for a worker that hangs or outgrew its memory to leave: the next request for its model waits for its end."""


class Supervisor:
    """Acts on the pool's residents."""

    def __init__(
        self,
        residents: Residents,
        requests: RequestRegistry,
        loader: Loader,
        accounts: Accounts,
        settings: SettingsSource,
        *,
        incidents: Incidents,
        background: Background,
        release: Callable[[ActiveRequest], None],
        reconsider: Callable[[Resident], None],
    ) -> None:
        """`release` ends a request of a reader that stalled; `reconsider` withdraws a load that no request needs."""
        self._residents = residents
        self._requests = requests
        self._loader = loader
        self._accounts = accounts
        self._settings = settings
        self._incidents = incidents
        self._background = background
        self._release = release
        self._reconsider = reconsider
        self._ends = Ends(settings)
        self._ticked = math.inf
        self._since = 0.0
        """Of how long a worker was silent, what lies before says nothing of it."""

    def run(self) -> None:
        """Begin to look after models, every TICK_SECONDS."""
        self._background.every(TICK_SECONDS, "the supervisor", self._tick)

    def _tick(self) -> None:
        """Look after readers, models and memory. An error of one part is raised after the others had their turn."""
        now, before = time.monotonic(), self._ticked
        self._ticked = now
        settings = self._settings.current
        late = min(settings.engine.hang_seconds, settings.server.stall_seconds) / 2
        if now - before - TICK_SECONDS > late:
            self._since = now  # the daemon stood still, and neither heard workers nor served readers
            return
        acts: list[Callable[[], None]] = [self._end_unread]
        acts += [partial(self._inspect, resident) for resident in self._residents]
        acts.append(self._accounts.share_out)
        errors = []
        for act in acts:
            try:
                act()
            except Exception as error:  # a fault in one model's supervision must not end another's
                errors.append(error)
        if errors:
            raise errors[0]

    def _end_unread(self) -> None:
        for active in self._requests.unread(self._settings.current.server.stall_seconds):
            self._release(active)

    def _inspect(self, resident: Resident) -> None:
        resident.sample()
        self._accounts.observe(resident)
        self._reconsider(resident)
        self._look_after(resident, time.monotonic())

    async def watch(self, resident: Resident, worker: Worker) -> None:
        """Wait for the worker's end and count it, as a crash or as one for want of memory. Its requests have failed by
        then."""
        error: LmxError = await asyncio.shield(worker.ended)
        if not worker.leaving and isinstance(error, OutOfMemoryError):
            self._ends.ran_out(resident.model, time.monotonic())
            self._incidents.report("out of memory", resident.model.id, error.message)
        elif not worker.leaving:
            self._ends.crashed(resident.model, time.monotonic())
            self._incidents.report("crashed", resident.model.id, error.message)
        if resident.state != "failed":
            self._residents.forget(resident)

    def crashes(self, model: Model) -> int:
        return self._ends.crashes(model)

    def ran_out(self, model: Model) -> int:
        """Return how often the model ran out of memory of late."""
        return self._ends.out_of_memory(model, time.monotonic())

    def delay(self, model: Model) -> float:
        """Return the seconds to wait before the model is started again. Raise CrashLoopError or OutOfMemoryError if it
        crashed, or ran out of memory, too often of late."""
        return self._ends.delay(model, time.monotonic())

    def health(self) -> Health:
        """Return ok only while workers with work make progress and the daemon's own repeated work succeeds."""
        if (problem := self._background.problem()) is not None:
            return Health(ok=False, reason=problem)
        now = time.monotonic()
        for resident in self._residents:
            if resident.worker is not None and resident.state == "ready":
                stalled = stalled_for(resident.beat, now, self._since)
                if stalled > self._settings.current.engine.hang_seconds / 2:
                    return Health(ok=False, reason=f"{resident.model.id} has made no progress for {stalled:.0f} s")
        return Health(ok=True)

    def _look_after(self, resident: Resident, now: float) -> None:
        worker = resident.worker
        if worker is None or not worker.alive or worker.leaving:
            return
        limit = exceeded(
            resident.beat,
            now,
            self._since,
            loading=resident.loaded is None,
            greeted=worker.hello is not None,
            hang=self._settings.current.engine.hang_seconds,
            load=self._settings.current.engine.load_seconds,
        )
        if limit is not None:
            self._end_hung(resident, worker, limit)
        elif resident.samples_above >= SAMPLES_ABOVE and (
            not resident.unified or self._accounts.room().pressure != "normal"
        ):
            self._end_outgrown(resident, worker)
        elif (expires := resident.expires()) is not None and now > expires:
            self._incidents.report("expired", resident.model.id, "unloaded: not used for its time to live")
            self._background.run(self._loader.unload(resident, False))

    def _memory_matters(self, resident: Resident) -> bool:
        return not resident.unified or self._accounts.room().pressure != "normal"

    def _end_hung(self, resident: Resident, worker: Worker, limit: float) -> None:
        error = WorkerHungError(f"{resident.model.id} made no progress for {limit:g} s and was ended", hint="try again")
        self._incidents.report("hung", resident.model.id, error.message)
        self._ends.crashed(resident.model, time.monotonic())
        self._end(resident, worker, error)

    def _end_outgrown(self, resident: Resident, worker: Worker) -> None:
        most = self._accounts.most(resident)
        assert most is not None
        error = outgrown(resident.model.id, resident.footprint, most)
        self._incidents.report("out of memory", resident.model.id, error.message)
        self._ends.ran_out(resident.model, time.monotonic())
        self._end(resident, worker, error)

    def _end(self, resident: Resident, worker: Worker, error: LmxError) -> None:
        worker.fail(error)
        worker.leaving = True
        resident.state = "leaving"
        resident.fail(error)
        self._background.run(worker.leave(min(self._settings.current.engine.leave_seconds, HUNG_SECONDS)))
