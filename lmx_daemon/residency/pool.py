"""The way in to models in memory: takes requests, loads on demand, unloads, drains and ends.

opening.py opens a resident for a model, loading.py loads it, supervision.py looks after it.
It knows models by `find`, and nothing of HTTP.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.contract.deadline import patience, too_late
from lmx_daemon.contract.errors import (
    BusyError,
    ConflictError,
    LmxError,
    NotFoundError,
    ShuttingDownError,
    UnsupportedError,
    WorkerError,
)
from lmx_daemon.contract.events import Ending, Finished, Loading
from lmx_daemon.contract.models import Instance, Model, Verdict
from lmx_daemon.contract.observers import RequestObserver
from lmx_daemon.contract.requests import Generate, Request
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.accounts import Accounts, Machine
from lmx_daemon.residency.active_request import ActiveRequest
from lmx_daemon.residency.background import Background
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.loading import Loader
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.observers import Observers
from lmx_daemon.residency.opening import Opener
from lmx_daemon.residency.plan import hopeless_prompt
from lmx_daemon.residency.request_registry import RequestRegistry
from lmx_daemon.residency.resident import Resident, Residents
from lmx_daemon.residency.spare import Spare
from lmx_daemon.residency.supervision import Supervisor
from lmx_daemon.residency.worker import Worker
from lmx_daemon.settings.source import SettingsSource


class Pool:
    def __init__(
        self,
        settings: SettingsSource,
        *,
        find: Callable[[str], Model],
        clear: Callable[[Model], bool],
        start: Callable[[str], Awaitable[Worker]],
        host: Machine,
        measurements: Measurements,
        prefixes: Path,
        incidents: Incidents,
        observers: Sequence[RequestObserver] = (),
    ) -> None:
        """`find` knows models; `start` makes a worker of that name; the others are the loader's."""
        self._settings, self._find = settings, find
        self._draining = False
        self._residents = Residents()
        self._handing_on: dict[str, asyncio.Future[Any]] = {}
        """Tasks that hand a waiting request to its worker, by the request's id."""
        self.incidents = incidents
        self.background = Background(lambda message: incidents.log("pool", "error", message))
        self.requests = RequestRegistry(self._cancel, Observers(observers))
        self.spare = Spare(lambda: start("spare"), settings.current.engine.warm_spare, self._residents.busy)
        self.accounts = Accounts(self._residents, settings, host, measurements)
        self.loader = Loader(
            self._residents,
            settings,
            accounts=self.accounts,
            spare=self.spare,
            incidents=incidents,
            start=start,
            watch=lambda resident, worker: self.background.run(self._supervisor.watch(resident, worker)),
            restore=self._restore,
            clear=clear,
            prefixes=prefixes,
        )
        self._supervisor = Supervisor(
            self._residents,
            self.requests,
            self.loader,
            self.accounts,
            settings,
            incidents=incidents,
            background=self.background,
            release=self.release,
            reconsider=lambda resident: self._opener.reconsider(resident),
        )
        self._opener = Opener(
            self._residents, self.loader, self._supervisor, settings, incidents=incidents, background=self.background
        )

    def open(self) -> None:
        """Begins supervision and the spare; after the servers answer, so that it delays no start."""
        self._supervisor.run()
        self.spare.prepare()

    # ---- requests ----

    def submit(self, request: Request) -> ActiveRequest:
        """Takes a request, loading its model where needed. Raises before anything is waited for: ModelNotFoundError,
        BusyError, ShuttingDownError, UntrustedModelError ..."""
        if self._draining:
            raise ShuttingDownError("lmx is shutting down", hint="start it again with: lmx serve")
        model = self._find(request.model)
        self._refuse_hopeless(model, request)
        resident = self._resident_for(model, request)
        waiting = len(resident.waiting) + (len(resident.worker.requests) if resident.worker else 0)
        settings = self._settings.current
        if waiting >= settings.server.max_queued + settings.engine.max_running:
            raise BusyError(
                f"{waiting} requests run or wait for {model.id} already", hint="try again soon", retry_after=2.0
            )
        active = self.requests.open(request, resident.id)
        if resident.state == "ready" and resident.worker is not None and resident.worker.alive:
            try:
                resident.worker.submit(active, 0.0)
            except LmxError:
                self.requests.release(active)
                raise
        else:
            resident.waiting[active.id] = active
            active.put(Loading(id=active.id, model=model.id, fraction=resident.progress))
            self._handing_on[active.id] = self.background.run(self._submit_when_ready(resident, active))
        return active

    def release(self, active: ActiveRequest) -> None:
        """The one who asked is done with it; a request that still runs is cancelled."""
        self.requests.release(active)
        if (resident := self._residents.get(active.instance)) is not None:
            resident.touch()

    # ---- models ----

    def instances(self) -> list[Instance]:
        return [resident.instance() for resident in self._residents]

    def claimed(self) -> int:
        """Bytes that loaded models hold or were promised."""
        return sum(claim.bytes for claim in self._residents.claims())

    def folders(self) -> set[str]:
        """Of the models in memory, or on their way there or out."""
        return {resident.model.path for resident in self._residents}

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        """The instance as it loads; the last one is ready. Raises what made the load fail."""
        if self._draining:
            raise ShuttingDownError("lmx is shutting down")
        model = self._find(request.model)
        demand = Demand(request.context_length, request.slots)
        resident = self._residents.serving(model)
        if resident is None:
            resident = self._opener.open(model, demand, request.ttl, bool(request.pin))
        else:
            _check_same(resident, demand)
            resident.ttl, resident.purpose = request.ttl, "load"
            resident.pinned = resident.pinned if request.pin is None else request.pin
        told = resident.changed
        yield resident.instance()
        while not resident.ready.done():
            either: list[asyncio.Future[Any]] = [resident.ready, told]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            told = resident.changed
            if not resident.ready.done():
                yield resident.instance()
        await asyncio.shield(resident.ready)
        yield resident.instance()

    async def verdict(self, request: LoadRequest) -> Verdict:
        """Whether it may be loaded now, and at what price; as if it were not loaded yet."""
        model = self._find(request.model)
        return await self.loader.verdict(Resident(model, Demand(request.context_length, request.slots), request.ttl))

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        """Waits for running requests unless `force`; returns the instances that have left."""
        chosen = [resident for resident in self._residents if request.id in (resident.id, resident.model.id)]
        if not chosen:
            loaded = ", ".join(resident.id for resident in self._residents)
            raise NotFoundError(
                f"{request.id} is not loaded", hint=f"loaded: {loaded}" if loaded else "no model is loaded"
            )
        await asyncio.gather(*(self.loader.unload(resident, request.force) for resident in chosen))
        return [resident.instance() for resident in chosen]

    def health(self) -> Health:
        """Well only while workers with work make progress."""
        if self._draining:
            return Health(ok=False, reason="shutting down")
        return self._supervisor.health()

    async def drain(self, seconds: float) -> None:
        """Takes nothing more; lets what runs finish until the deadline, and fails the rest."""
        self._draining = True
        deadline = time.monotonic() + seconds
        while self.requests.busy() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self.requests.fail(ShuttingDownError("lmx was shut down before the answer was complete"))

    async def close(self) -> None:
        """Asks all workers to leave, and waits until they have."""
        self._draining = True
        self.background.cancel()
        seconds = self._settings.current.engine.leave_seconds
        leaving = [resident.worker.leave(seconds) for resident in self._residents if resident.worker]
        await asyncio.gather(*leaving, self.spare.close(seconds))

    # ---- how it is done ----

    def _refuse_hopeless(self, model: Model, request: Request) -> None:
        resident = self._residents.serving(model)
        asked = resident.demand.context if resident is not None else None
        own = self._settings.current.engine.context_length
        context = max(size or 0 for size in (model.context_length, own, asked))
        if context and (problem := hopeless_prompt(request.prompt, context)) is not None:
            raise problem

    def _resident_for(self, model: Model, request: Request) -> Resident:
        resident = self._residents.serving(model)
        ttl = request.ttl if isinstance(request, Generate) else None
        if resident is None:
            idle = self._settings.current.engine.idle_seconds if ttl is None else ttl
            return self._opener.open(model, Demand(), idle, purpose="requests")
        if ttl is not None and resident.ttl is not None:
            resident.ttl = ttl
        return resident

    def _restore(self, old: Resident) -> None:
        if not self._draining:
            self._opener.restore(old)

    async def _submit_when_ready(self, resident: Resident, active: ActiveRequest) -> None:
        begun, limit = time.monotonic(), patience(active.request, begun=False)
        try:
            async with asyncio.timeout(limit):
                worker = await asyncio.shield(resident.ready)
        except TimeoutError:
            active.fail(too_late(limit, begun=False))
            resident.dismiss(active)
            self._opener.reconsider(resident)
            return
        except LmxError as error:
            active.fail(error)
            return
        finally:
            self._handing_on.pop(active.id, None)
            resident.dismiss(active)
        if active.closed:
            return
        problem = self._problem_with(resident, active.request)
        if problem is not None:
            active.fail(problem)
            return
        try:
            worker.submit(active, time.monotonic() - begun)
        except LmxError as error:
            active.fail(error)

    def _problem_with(self, resident: Resident, request: Request) -> LmxError | None:
        if not resident.worker or not resident.worker.alive:
            return WorkerError("the model's process died before the request began", hint="try again")
        if resident.state == "leaving":
            return UnsupportedError("the model is being unloaded", hint="try again")
        return None

    def _cancel(self, active: ActiveRequest) -> None:
        resident = self._residents.get(active.instance)
        if resident is not None and resident.worker is not None and resident.worker.requests.get(active.id) is active:
            resident.worker.cancel(active)
            return
        choices = active.request.choices if isinstance(active.request, Generate) else 1
        active.put(Finished(id=active.id, endings=(Ending(reason="cancelled"),) * choices))
        if resident is not None:
            resident.dismiss(active)
            self._opener.reconsider(resident)
        if (task := self._handing_on.pop(active.id, None)) is not None:
            task.cancel()


def _check_same(resident: Resident, demand: Demand) -> None:
    for name, asked, has in (
        ("a context of", demand.context, resident.demand.context),
        ("slots:", demand.slots, resident.demand.slots),
    ):
        if asked is not None and asked != has:
            raise ConflictError(
                f"{resident.model.id} is loaded already, not with {name} {asked}",
                hint=f"unload it first: lmx unload {resident.model.id}",
            )
