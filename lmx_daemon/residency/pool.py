"""The one owner of worker processes: loads models on request, supervises them, and unloads them.

What it does is decided in plan.py. It knows models by `find`, and nothing of HTTP.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from lmx_daemon.contract.config import EngineSettings, ServerSettings
from lmx_daemon.contract.errors import (
    BusyError,
    CancelledError,
    LmxError,
    ModelLoadError,
    NotFoundError,
    ShuttingDownError,
    UnsupportedError,
    UntrustedModelError,
    WorkerError,
    WorkerHungError,
)
from lmx_daemon.contract.frames import EngineOptions, Load, LoadProgress, Log
from lmx_daemon.contract.generation import Ending, Finished, Generate, Loading, Request
from lmx_daemon.contract.types import Health, Instance, LoadRequest, Model, UnloadRequest
from lmx_daemon.residency.desk import Desk, OnLog
from lmx_daemon.residency.plan import is_hung, stalled_for, start_after
from lmx_daemon.residency.slot import Slot
from lmx_daemon.residency.spare import Spare
from lmx_daemon.residency.ticket import Ticket
from lmx_daemon.residency.worker import PROGRAM, Worker

TICK_SECONDS = 0.5
WAIT_POLL_SECONDS = 0.1


class Pool:
    def __init__(
        self,
        engine: EngineSettings,
        server: ServerSettings,
        *,
        find: Callable[[str], Model],
        environment: Mapping[str, str],
        log_file: IO[Any],
        on_log: OnLog,
        clear: Callable[[Model], bool] = lambda model: False,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        """`find` knows models; `clear`, called in a thread, says whether a model's code may run, or refuses it."""
        self._engine = engine
        self._server = server
        self._find = find
        self._clear = clear
        self._environment = environment
        self._log_file = log_file
        self._on_log = on_log
        self._program = program
        self._slots: dict[str, Slot] = {}
        self.desk = Desk(self._cancel, on_log)
        self._crashes: dict[str, list[float]] = defaultdict(list)
        self._loading = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._draining = False
        self.spare = Spare(lambda: self._start_worker("spare"), engine.warm_spare)
        self.versions: dict[str, str] = {}
        self.backend = ""

    def open(self) -> None:
        """Begins supervision and the spare; after the servers answer, so that it delays no start."""
        self._background(self._supervise())
        self.spare.prepare()

    # ---- requests ----

    def submit(self, request: Request) -> Ticket:
        """Takes a request, loading its model where needed. Raises before anything is waited for: ModelNotFoundError,
        BusyError, ShuttingDownError, UntrustedModelError ..."""
        if self._draining:
            raise ShuttingDownError("lmx is shutting down", hint="start it again with: lmx serve")
        model = self._find(request.model)
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
            self._background(self._submit_when_ready(slot, ticket))
        return ticket

    def release(self, ticket: Ticket) -> None:
        """The one who asked is done with it; a request that still runs is cancelled."""
        self.desk.release(ticket)
        if (slot := self._slots.get(ticket.instance)) is not None:
            slot.touch()

    # ---- models ----

    def instances(self) -> list[Instance]:
        return [slot.instance() for slot in self._slots.values()]

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        """The instance as it loads; the last one is ready. Raises what made the load fail."""
        if self._draining:
            raise ShuttingDownError("lmx is shutting down")
        model = self._find(request.model)
        slot = self._resident(model)
        if slot is None:
            slot = self._open_slot(model, request.context_length, request.ttl)
        else:
            slot.ttl = request.ttl
        yield slot.instance()
        before = (slot.state, slot.stage, slot.progress)
        while not slot.ready.done():
            await asyncio.wait([slot.ready], timeout=WAIT_POLL_SECONDS)
            if (now := (slot.state, slot.stage, slot.progress)) != before and not slot.ready.done():
                before = now
                yield slot.instance()
        await asyncio.shield(slot.ready)
        yield slot.instance()

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        """Waits for running requests unless `force`; returns the instances that have left."""
        chosen = [slot for slot in self._slots.values() if request.id in (slot.id, slot.model.id)]
        if not chosen:
            loaded = ", ".join(slot.id for slot in self._slots.values()) or "none"
            raise NotFoundError(f"{request.id} is not loaded; loaded: {loaded}", hint="`lmx ps` lists loaded models")
        await asyncio.gather(*(self._unload(slot, request.force) for slot in chosen))
        return [slot.instance() for slot in chosen]

    def health(self) -> Health:
        """Well only while workers with work make progress."""
        if self._draining:
            return Health(ok=False, reason="shutting down")
        now = time.monotonic()
        for slot in self._slots.values():
            if slot.worker is not None and slot.state == "ready":
                stalled = stalled_for(slot.worker.beat(), now)
                if stalled > self._engine.hang_seconds / 2:
                    return Health(ok=False, reason=f"{slot.model.id} has made no progress for {stalled:.0f} s")
        return Health(ok=True)

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
        for task in list(self._tasks):
            task.cancel()
        leaving = [slot.worker.leave(self._engine.leave_seconds) for slot in self._slots.values() if slot.worker]
        await asyncio.gather(*leaving, self.spare.close(self._engine.leave_seconds))

    # ---- how it is done ----

    def _resident(self, model: Model) -> Slot | None:
        return next(
            (s for s in self._slots.values() if s.model.id == model.id and s.state not in ("leaving", "failed")), None
        )

    def _slot_for(self, model: Model, request: Request) -> Slot:
        slot = self._resident(model)
        ttl = request.ttl if isinstance(request, Generate) else None
        if slot is None:
            return self._open_slot(model, None, self._engine.idle_seconds if ttl is None else ttl)
        if ttl is not None and slot.ttl is not None:
            slot.ttl = ttl
        return slot

    def _open_slot(self, model: Model, context_length: int | None, ttl: float | None) -> Slot:
        if model.problem and model.code and not model.trusted:
            raise UntrustedModelError(
                f"{model.id} cannot be loaded: {model.problem}", hint="use a version of it that needs no code"
            )
        if model.problem:
            raise ModelLoadError(f"{model.id} cannot be loaded: {model.problem}")
        allowed = self._may_start(model)
        if allowed.refused_for is not None:
            raise WorkerError(
                f"{model.id} has crashed {self._engine.max_restarts} times within "
                f"{self._engine.restart_window_seconds:.0f} s",
                hint=f"it may be started again in {allowed.refused_for:.0f} s; the log tells why it crashed",
            )
        slot = Slot(model, context_length, ttl)
        slot.crashes = len(self._crashes[model.id])
        self._slots[slot.id] = slot
        self._background(self._load(slot))
        return slot

    def _may_start(self, model: Model) -> Any:
        engine = self._engine
        return start_after(
            self._crashes[model.id], time.monotonic(), engine.max_restarts, engine.restart_window_seconds
        )

    async def _load(self, slot: Slot) -> None:
        try:
            await asyncio.sleep(self._may_start(slot.model).wait)
            predecessors = [s.gone for s in self._slots.values() if s.model.id == slot.model.id and s is not slot]
            if predecessors:
                await asyncio.wait(predecessors)
            async with self._loading, asyncio.timeout(self._engine.load_seconds):
                await self._load_now(slot)
        except TimeoutError:
            limit = self._engine.load_seconds
            self._give_up(slot, ModelLoadError(f"{slot.model.id} was not loaded within {limit:.0f} s"))
        except LmxError as error:
            self._give_up(slot, error)
        except asyncio.CancelledError:
            self._give_up(slot, CancelledError(f"the load of {slot.model.id} was cancelled"))
            raise

    async def _load_now(self, slot: Slot) -> None:
        if slot.ready.done():
            return
        slot.stage = "checking"
        trusted = await asyncio.to_thread(self._clear, slot.model)
        worker = self.spare.take() or await self._start_worker(slot.model.id)
        slot.worker = worker
        if slot.ready.done():  # it was unloaded while it waited for its turn
            raise CancelledError(f"the load of {slot.model.id} was cancelled")
        slot.state, slot.stage = "loading", "starting"
        self._background(self._watch(slot, worker))
        hello = await worker.ready()
        self.versions, self.backend = dict(hello.versions), hello.backend
        engine = self._engine
        options = EngineOptions(
            context_length=slot.context_length or engine.context_length,
            max_running=engine.max_running,
            max_waiting=self._server.max_queued,
            prefill_step=engine.prefill_step,
            prefix_cache_bytes=engine.prefix_cache_bytes,
            wired=str(engine.wired),
        )
        command = Load(instance=slot.id, model=slot.model.id, path=slot.model.path, options=options, trusted=trusted)
        loaded = await worker.load(command, lambda progress: self._on_progress(slot, progress))
        if not slot.ready.done():
            slot.set_ready(loaded, worker)
        told = ", ".join(part for part in (hello.backend, loaded.dtype, loaded.note) if part)
        self._on_log(slot.model.id, Log(level="info", message=f"loaded in {loaded.seconds:.2f} s: {told}"))
        self.spare.prepare()

    def _on_progress(self, slot: Slot, progress: LoadProgress) -> None:
        slot.stage, slot.progress = progress.stage, progress.fraction
        for ticket in slot.waiting.values():
            ticket.put(Loading(id=ticket.id, model=slot.model.id, fraction=progress.fraction))

    def _give_up(self, slot: Slot, error: LmxError) -> None:
        """The load failed: whoever waits for it is told, and the slot is gone."""
        slot.state, slot.error = "failed", error.body()
        if not slot.ready.done():
            slot.ready.set_exception(error)
            slot.ready.exception()
        if slot.worker is not None and slot.worker.alive:  # one that has died was no leaver, and its crash counts
            slot.worker.leaving = True
            self._background(slot.worker.leave(self._engine.leave_seconds))
        self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        self._slots.pop(slot.id, None)
        if not slot.gone.done():
            slot.gone.set_result(None)

    async def _submit_when_ready(self, slot: Slot, ticket: Ticket) -> None:
        begun = time.monotonic()
        try:
            worker = await asyncio.shield(slot.ready)
        except LmxError as error:
            ticket.fail(error)
            return
        finally:
            slot.waiting.pop(ticket.id, None)
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
        if slot is not None and slot.worker is not None and ticket.id in slot.worker.tickets:
            slot.worker.cancel(ticket)
            return
        choices = ticket.request.choices if isinstance(ticket.request, Generate) else 1
        ticket.put(Finished(id=ticket.id, endings=(Ending(reason="cancelled"),) * choices))

    async def _watch(self, slot: Slot, worker: Worker) -> None:
        """Until the worker's end. A crash is remembered; its tickets have been failed by then."""
        error = await asyncio.shield(worker.ended)
        if not worker.leaving:
            self._crashes[slot.model.id].append(time.monotonic())
            self._on_log(slot.model.id, Log(level="error", message=error.message))
        if slot.state != "failed":
            self._forget(slot)

    async def _unload(self, slot: Slot, force: bool) -> None:
        if slot.state == "leaving":
            await asyncio.shield(slot.gone)
            return
        slot.state = "leaving"
        if not slot.ready.done():
            error = CancelledError(f"the load of {slot.model.id} was cancelled")
            slot.ready.set_exception(error)
            slot.ready.exception()
        while not force and slot.in_use:
            await asyncio.sleep(0.02)
        if slot.worker is not None:
            slot.worker.leaving = True
            slot.worker.fail(CancelledError(f"{slot.model.id} was unloaded"))
            await slot.worker.leave(self._engine.leave_seconds)
        self._forget(slot)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            for ticket in self.desk.unread(self._server.stall_seconds):
                self.release(ticket)
            for slot in list(self._slots.values()):
                slot.sample()
                worker = slot.worker
                if worker is not None and worker.alive and not worker.leaving:
                    if is_hung(worker.beat(), now, self._engine.hang_seconds):
                        self._end_hung(slot, worker)
                    elif (expires := slot.expires()) is not None and now > expires:
                        self._on_log(
                            slot.model.id, Log(level="info", message="unloaded: not used for its time to live")
                        )
                        self._background(self._unload(slot, False))

    def _end_hung(self, slot: Slot, worker: Worker) -> None:
        error = WorkerHungError(
            f"{slot.model.id} made no progress for {self._engine.hang_seconds:g} s and was ended", hint="try again"
        )
        self._on_log(slot.model.id, Log(level="error", message=error.message))
        self._crashes[slot.model.id].append(time.monotonic())
        worker.fail(error)
        worker.leaving = True
        slot.state = "leaving"
        if not slot.ready.done():
            slot.ready.set_exception(error)
            slot.ready.exception()
        self._background(worker.leave(self._engine.leave_seconds))

    async def _start_worker(self, name: str) -> Worker:
        return await Worker.start(self._environment, self._log_file, lambda log: self._on_log(name, log), self._program)

    def _background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        with suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                self._on_log("pool", Log(level="error", message=f"{type(error).__name__}: {error}"))
