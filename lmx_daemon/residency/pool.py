"""The way in to models in memory: takes requests, loads on demand, unloads, drains and ends.

How a model gets its slot is opening.py's, how it is brought in loading.py's, how it is looked after supervision.py's.
It knows models by `find`, and nothing of HTTP.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

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
from lmx_daemon.contract.generation import Ending, Finished, Generate, Loading, Request
from lmx_daemon.contract.types import Health, Instance, LoadRequest, Model, UnloadRequest, Verdict
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.accounts import Accounts, Machine
from lmx_daemon.residency.background import Background
from lmx_daemon.residency.desk import Desk
from lmx_daemon.residency.journal import Journal
from lmx_daemon.residency.loading import Loader
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.opening import Opener
from lmx_daemon.residency.plan import hopeless_prompt
from lmx_daemon.residency.slot import Slot, Slots
from lmx_daemon.residency.spare import Spare
from lmx_daemon.residency.supervision import Supervisor
from lmx_daemon.residency.ticket import Ticket
from lmx_daemon.residency.worker import Worker
from lmx_daemon.settings.schema import EngineSettings, ServerSettings


class Pool:
    def __init__(
        self,
        engine: EngineSettings,
        server: ServerSettings,
        *,
        find: Callable[[str], Model],
        clear: Callable[[Model], bool],
        start: Callable[[str], Awaitable[Worker]],
        host: Machine,
        measurements: Measurements,
        prefixes: Path,
        journal: Journal,
    ) -> None:
        """`find` knows models; `start` makes a worker of that name; the others are the loader's."""
        self._engine, self._server, self._find = engine, server, find
        self._draining = False
        self._slots = Slots()
        self._handing_on: dict[str, asyncio.Future[Any]] = {}
        """Tasks that hand a waiting ticket to its worker, by the ticket's id."""
        self.journal = journal
        self.background = Background(lambda message: journal.log("pool", "error", message))
        self.desk = Desk(self._cancel, journal.take)
        self.spare = Spare(lambda: start("spare"), engine.warm_spare, self._slots.busy)
        self.accounts = Accounts(self._slots, engine, host, measurements)
        self.loader = Loader(
            self._slots,
            engine,
            server,
            accounts=self.accounts,
            spare=self.spare,
            journal=journal,
            start=start,
            watch=lambda slot, worker: self.background.run(self._supervisor.watch(slot, worker)),
            restore=self._restore,
            clear=clear,
            prefixes=prefixes,
        )
        self._supervisor = Supervisor(
            self._slots,
            self.desk,
            self.loader,
            self.accounts,
            engine,
            server,
            journal=journal,
            background=self.background,
            release=self.release,
            reconsider=lambda slot: self._opener.reconsider(slot),
        )
        self._opener = Opener(
            self._slots, self.loader, self._supervisor, engine, journal=journal, background=self.background
        )

    def open(self) -> None:
        """Begins supervision and the spare; after the servers answer, so that it delays no start."""
        self._supervisor.run()
        self.spare.prepare()

    # ---- requests ----

    def submit(self, request: Request) -> Ticket:
        """Takes a request, loading its model where needed. Raises before anything is waited for: ModelNotFoundError,
        BusyError, ShuttingDownError, UntrustedModelError ..."""
        if self._draining:
            raise ShuttingDownError("lmx is shutting down", hint="start it again with: lmx serve")
        model = self._find(request.model)
        self._refuse_hopeless(model, request)
        slot = self._slot_for(model, request)
        waiting = len(slot.waiting) + (len(slot.worker.tickets) if slot.worker else 0)
        if waiting >= self._server.max_queued + self._engine.max_running:
            raise BusyError(
                f"{waiting} requests run or wait for {model.id} already", hint="try again soon", retry_after=2.0
            )
        ticket = self.desk.open(request, slot.id)
        if slot.state == "ready" and slot.worker is not None and slot.worker.alive:
            try:
                slot.worker.submit(ticket, 0.0)
            except LmxError:
                self.desk.release(ticket)
                raise
        else:
            slot.waiting[ticket.id] = ticket
            ticket.put(Loading(id=ticket.id, model=model.id, fraction=slot.progress))
            self._handing_on[ticket.id] = self.background.run(self._submit_when_ready(slot, ticket))
        return ticket

    def release(self, ticket: Ticket) -> None:
        """The one who asked is done with it; a request that still runs is cancelled."""
        self.desk.release(ticket)
        if (slot := self._slots.get(ticket.instance)) is not None:
            slot.touch()

    # ---- models ----

    def instances(self) -> list[Instance]:
        return [slot.instance() for slot in self._slots]

    def claimed(self) -> int:
        """Bytes that loaded models hold or were promised."""
        return sum(claim.bytes for claim in self._slots.claims())

    def folders(self) -> set[str]:
        """Of the models in memory, or on their way there or out."""
        return {slot.model.path for slot in self._slots}

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        """The instance as it loads; the last one is ready. Raises what made the load fail."""
        if self._draining:
            raise ShuttingDownError("lmx is shutting down")
        model = self._find(request.model)
        demand = Demand(request.context_length, request.slots)
        slot = self._slots.resident(model)
        if slot is None:
            slot = self._opener.open(model, demand, request.ttl, bool(request.pin))
        else:
            _check_same(slot, demand)
            slot.ttl, slot.purpose = request.ttl, "load"
            slot.pinned = slot.pinned if request.pin is None else request.pin
        told = slot.told
        yield slot.instance()
        while not slot.ready.done():
            either: list[asyncio.Future[Any]] = [slot.ready, told]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            told = slot.told
            if not slot.ready.done():
                yield slot.instance()
        await asyncio.shield(slot.ready)
        yield slot.instance()

    async def verdict(self, request: LoadRequest) -> Verdict:
        """Whether it may be loaded now, and at what price; as if it were not loaded yet."""
        model = self._find(request.model)
        return await self.loader.verdict(Slot(model, Demand(request.context_length, request.slots), request.ttl))

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        """Waits for running requests unless `force`; returns the instances that have left."""
        chosen = [slot for slot in self._slots if request.id in (slot.id, slot.model.id)]
        if not chosen:
            loaded = ", ".join(slot.id for slot in self._slots)
            raise NotFoundError(
                f"{request.id} is not loaded", hint=f"loaded: {loaded}" if loaded else "no model is loaded"
            )
        await asyncio.gather(*(self.loader.unload(slot, request.force) for slot in chosen))
        return [slot.instance() for slot in chosen]

    def health(self) -> Health:
        """Well only while workers with work make progress."""
        if self._draining:
            return Health(ok=False, reason="shutting down")
        return self._supervisor.health()

    async def drain(self, seconds: float) -> None:
        """Takes nothing more; lets what runs finish until the deadline, and fails the rest."""
        self._draining = True
        deadline = time.monotonic() + seconds
        while self.desk.busy() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self.desk.fail(ShuttingDownError("lmx was shut down before the answer was complete"))

    async def close(self) -> None:
        """Asks all workers to leave, and waits until they have."""
        self._draining = True
        self.background.cancel()
        leaving = [slot.worker.leave(self._engine.leave_seconds) for slot in self._slots if slot.worker]
        await asyncio.gather(*leaving, self.spare.close(self._engine.leave_seconds))

    # ---- how it is done ----

    def _refuse_hopeless(self, model: Model, request: Request) -> None:
        slot = self._slots.resident(model)
        asked = slot.demand.context if slot is not None else None
        context = max(size or 0 for size in (model.context_length, self._engine.context_length, asked))
        if context and (problem := hopeless_prompt(request.prompt, context)) is not None:
            raise problem

    def _slot_for(self, model: Model, request: Request) -> Slot:
        slot = self._slots.resident(model)
        ttl = request.ttl if isinstance(request, Generate) else None
        if slot is None:
            idle = self._engine.idle_seconds if ttl is None else ttl
            return self._opener.open(model, Demand(), idle, purpose="requests")
        if ttl is not None and slot.ttl is not None:
            slot.ttl = ttl
        return slot

    def _restore(self, old: Slot) -> None:
        if not self._draining:
            self._opener.restore(old)

    async def _submit_when_ready(self, slot: Slot, ticket: Ticket) -> None:
        begun, limit = time.monotonic(), patience(ticket.request, begun=False)
        try:
            async with asyncio.timeout(limit):
                worker = await asyncio.shield(slot.ready)
        except TimeoutError:
            ticket.fail(too_late(limit, begun=False))
            slot.dismiss(ticket)
            self._opener.reconsider(slot)
            return
        except LmxError as error:
            ticket.fail(error)
            return
        finally:
            self._handing_on.pop(ticket.id, None)
            slot.dismiss(ticket)
        if ticket.closed:
            return
        problem = self._problem_with(slot, ticket.request)
        if problem is not None:
            ticket.fail(problem)
            return
        try:
            worker.submit(ticket, time.monotonic() - begun)
        except LmxError as error:
            ticket.fail(error)

    def _problem_with(self, slot: Slot, request: Request) -> LmxError | None:
        if not slot.worker or not slot.worker.alive:
            return WorkerError("the model's process died before the request began", hint="try again")
        if slot.state == "leaving":
            return UnsupportedError("the model is being unloaded", hint="try again")
        return None

    def _cancel(self, ticket: Ticket) -> None:
        slot = self._slots.get(ticket.instance)
        if slot is not None and slot.worker is not None and slot.worker.tickets.get(ticket.id) is ticket:
            slot.worker.cancel(ticket)
            return
        choices = ticket.request.choices if isinstance(ticket.request, Generate) else 1
        ticket.put(Finished(id=ticket.id, endings=(Ending(reason="cancelled"),) * choices))
        if slot is not None:
            slot.dismiss(ticket)
            self._opener.reconsider(slot)
        if (task := self._handing_on.pop(ticket.id, None)) is not None:
            task.cancel()


def _check_same(slot: Slot, demand: Demand) -> None:
    for name, asked, has in (
        ("a context of", demand.context, slot.demand.context),
        ("slots:", demand.slots, slot.demand.slots),
    ):
        if asked is not None and asked != has:
            raise ConflictError(
                f"{slot.model.id} is loaded already, not with {name} {asked}",
                hint=f"unload it first: lmx unload {slot.model.id}",
            )
