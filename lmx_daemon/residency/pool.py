"""The entry to models in memory for HTTP, the monitor and `main`. It builds the parts and waits for what they announce.

All decisions are in scheduler.py. The pool finds models with `find`, and does not depend on HTTP.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.contract.errors import ConflictError, LmxError
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.models import Instance, Model, Verdict
from lmx_daemon.contract.observers import RequestObserver
from lmx_daemon.contract.worker.messages import EngineKind
from lmx_daemon.memory.need import Demand
from lmx_daemon.memory.shape import read_shape
from lmx_daemon.residency.accounts import Accounts, Machine
from lmx_daemon.residency.background import Background
from lmx_daemon.residency.decisions import own_settings
from lmx_daemon.residency.decisions.loading.placement import Fits, Refused, Waits, free_bytes
from lmx_daemon.residency.decisions.loading.refusal import alternatives
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.decisions.residents import Residents
from lmx_daemon.residency.decisions.scheduler import DRAINED, ResidencyScheduler
from lmx_daemon.residency.decisions.supervision import TICK_SECONDS
from lmx_daemon.residency.effects import Loop
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.outlooks import Outlooks
from lmx_daemon.residency.process_effects import ProcessEffects
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.requests.observers import Observers
from lmx_daemon.residency.requests.request_registry import RequestRegistry
from lmx_daemon.residency.workers.programs import PROGRAMS, EngineProgram
from lmx_daemon.residency.workers.spare import Spares
from lmx_daemon.settings.source import SettingsSource


class Pool:
    """Façade of the scheduler."""

    def __init__(
        self,
        settings: SettingsSource,
        *,
        find: Callable[[str], Model],
        clear: Callable[[Model], bool],
        start: Callable[[str, EngineKind], Awaitable[Any]],
        host: Machine,
        measurements: Measurements,
        prefixes: Path,
        incidents: Incidents,
        observers: Sequence[RequestObserver] = (),
        programs: Mapping[EngineKind, EngineProgram] = PROGRAMS,
        loop: Loop | None = None,
    ) -> None:  # long: the wiring of its parts
        """Build the parts.

        `find` returns a model by its name or raises ModelNotFoundError. `clear`, called in a thread, returns whether a
        model's own code may run. `start` starts a worker for an engine kind, with a name for the log. `prefixes` is the
        folder of stored prompt prefixes. `observers` are notified of the life of each request. Tests replace
        `programs`, and `loop`, which is asyncio's.
        """
        self._settings, self._find = settings, find
        self.incidents = incidents
        self.background = Background(lambda message: incidents.log("pool", "error", message))
        self._loop: Loop = loop or self.background
        self.requests = RequestRegistry(
            lambda active: self._scheduler.on_cancel(active), Observers(observers), self._loop.now
        )
        self._residents = Residents(self.requests)
        wanted = [kind for kind, program in programs.items() if program.warm_spare]
        self.spares = Spares(
            wanted if settings.current.engine.warm_spare else [],
            lambda kind: start("spare", kind),
            self._residents.busy,
        )
        self.accounts = Accounts(self._residents, settings, host, measurements, programs)
        self._effects = ProcessEffects(
            self._loop,
            start=start,
            spares=self.spares,
            clear=clear,
            incidents=incidents,
            measurements=measurements,
        )
        self._scheduler = ResidencyScheduler(
            self._residents, self.requests, self.accounts, self._effects, settings, programs, prefixes
        )
        self._effects.events = self._scheduler
        self.outlooks = Outlooks(self._residents, self.accounts, self._scheduler.loads, settings, self._loop)

    def open(self) -> None:
        """Begin supervision and the warm spares. To be called once the servers answer, so that it delays no start."""
        self.background.every(TICK_SECONDS, "the supervisor", self._scheduler.on_tick)
        self.spares.prepare()

    # ---- requests ----

    def submit(self, request: Request) -> ActiveRequest:
        """Return the record of a new request, whose model is loaded where needed.

        Raise ModelNotFoundError, BusyError, ShuttingDownError, UntrustedModelError and the like before anything is
        waited for.
        """
        try:
            return self._scheduler.on_request(request, self._find(request.model))
        except LmxError as error:
            self.requests.refuse(request, error)
            raise

    def release(self, active: ActiveRequest) -> None:
        """Note that the reader has finished with a request; a request that still runs is cancelled."""
        self._scheduler.on_release(active)

    # ---- models ----

    def instances(self) -> list[Instance]:
        """Return the rows of all models that are loading, loaded or leaving."""
        now = self._loop.now()
        return [resident.instance(now) for resident in self._residents]

    def claimed(self) -> int:
        """Return the number of bytes that models hold or were promised."""
        return sum(claim.bytes for claim in self._residents.claims())

    def folders(self) -> set[str]:
        """Return the folders of the models that are loading, loaded or leaving."""
        return {resident.model.path for resident in self._residents}

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        """Yield the instance on each change of its load; the last one is ready. Raise the error that made it fail."""
        resident = self._scheduler.on_load(request, self._find(request.model))
        yield resident.instance(self._loop.now())
        while not resident.settled:
            await self._effects.changed(resident.id)
            if not resident.settled:
                yield resident.instance(self._loop.now())
        if resident.failure is not None:
            raise resident.failure
        yield resident.instance(self._loop.now())

    async def verdict(self, request: LoadRequest) -> Verdict:
        """Return whether a model may be loaded now, and at what price, as if it were not loaded yet."""
        model = self._find(request.model)
        request = own_settings.with_own_sizes(request, own_settings.of_model(self._settings.current, model))
        demand = Demand(request.context_length, request.slots)
        resident = Resident(model, demand, request.ttl, now=self._loop.now())
        resident.shape = await self._loop.in_thread(lambda: read_shape(Path(model.path)))
        decision, room = self.accounts.decide(resident), self.accounts.room()
        claims = self._residents.claims(without=resident)
        assert resident.plan is not None
        verdict = Verdict(
            model=model.id,
            plan=resident.plan,
            outcome="fits",
            cap=room.cap,
            free=max(0, free_bytes(room, claims)),
        )
        match decision:
            case Fits(evict=others):
                return msgspec.structs.replace(verdict, outcome="evicts" if others else "fits", others=others)
            case Waits(busy=others):
                return msgspec.structs.replace(verdict, outcome="waits", others=others)
            case Refused(free=free):
                error = self._scheduler.loads.refusal(resident, decision).body()
                ways = alternatives(resident.plan, room, claims, self.accounts.smaller(resident, free))
                return msgspec.structs.replace(verdict, outcome="refused", error=error, alternatives=ways)

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        """Unload a model and return its instances once their processes have ended.

        Running requests are waited for unless `force` is set. Raise NotFoundError, or ConflictError if the model is
        loaded again meanwhile.
        """
        chosen = self._scheduler.on_unload(request)
        for resident in chosen:
            while resident.phase != "gone":
                if resident.phase == "ready":
                    raise ConflictError(f"{resident.model.id} was loaded again while its requests were waited for")
                await self._effects.changed(resident.id)
        return [resident.instance(self._loop.now()) for resident in chosen]

    def health(self) -> Health:
        """Return ok only while workers with work make progress and the daemon's own repeated work succeeds."""
        if self._scheduler.draining:
            return Health(ok=False, reason="shutting down")
        problem = self.background.problem() or self._scheduler.stalled()
        return Health(ok=problem is None, reason=problem)

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, let those under way finish for `seconds`, and fail the rest."""
        self._scheduler.on_drain(seconds)
        while self.requests.busy():
            await self._effects.changed(DRAINED)

    async def close(self) -> None:
        """Ask all workers to leave, and wait until they have ended."""
        self._scheduler.on_close()
        self.background.cancel()
        seconds = self._settings.current.engine.leave_seconds
        await asyncio.gather(self._effects.close(seconds), self.spares.close(seconds))
