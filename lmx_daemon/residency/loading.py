"""How a model comes into memory and leaves it: makes room first, checks after, and undoes a load that was worse than
planned. One load at a time. What to do is decided in placement.py; requests are the pool's.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from lmx_daemon.contract.config import EngineSettings, ServerSettings
from lmx_daemon.contract.errors import CancelledError, LmxError, ModelLoadError
from lmx_daemon.contract.frames import EngineOptions, Load, Loaded
from lmx_daemon.contract.generation import Loading
from lmx_daemon.contract.types import Model, Verdict
from lmx_daemon.memory.need import PROCESS_BYTES, Device, Measured, plan_for
from lmx_daemon.memory.shape import read_shape
from lmx_daemon.residency import refusal
from lmx_daemon.residency.journal import Journal
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.placement import Decision, Fits, Refused, Room, Waits, excess, free_bytes, grants, place
from lmx_daemon.residency.plan import may_evict
from lmx_daemon.residency.slot import Slot, Slots
from lmx_daemon.residency.spare import Spare
from lmx_daemon.residency.worker import Worker

ROOM_POLL_SECONDS = 0.1
DRAIN_POLL_SECONDS = 0.02
LEAST_PROCESS_BYTES = 50 * 1024**2
GRANT_STEP = 0.05
"""A grant is told anew when it changes by more than this share."""


class Machine(Protocol):
    """The host's memory."""

    device_memory: int | None

    def room(self) -> Room: ...


class Loader:
    """Acts on the pool's slots. `watch` is told of each worker that a slot was given; `restore` opens one anew;
    `clear`, called in a thread, says whether a model's code may run, or refuses it; `prefixes` is where workers keep
    what they have computed of prompts."""

    def __init__(
        self,
        slots: Slots,
        engine: EngineSettings,
        server: ServerSettings,
        *,
        host: Machine,
        measurements: Measurements,
        spare: Spare,
        journal: Journal,
        start: Callable[[str], Awaitable[Worker]],
        watch: Callable[[Slot, Worker], object],
        restore: Callable[[Slot], None],
        clear: Callable[[Model], bool],
        prefixes: Path,
    ) -> None:
        self._slots = slots
        self._engine = engine
        self._server = server
        self._host = host
        self._measurements = measurements
        self._spare = spare
        self._journal = journal
        self._start = start
        self._watch = watch
        self._restore = restore
        self._clear = clear
        self._prefixes = prefixes
        self._one_at_a_time = asyncio.Lock()
        self.versions: dict[str, str] = {}
        self.backend = ""

    @property
    def device(self) -> Device:
        on_cpu = self.backend.startswith("cpu") if self.backend else sys.platform != "darwin"
        return Device(cpu=on_cpu, prefill_step=self._engine.prefill_step)

    async def load(self, slot: Slot) -> None:
        """Return when the slot is ready or its load was cancelled. Raise the error that made the load fail.

        The caller gives up the slot then."""
        if slot.ready.done():
            return
        self._tell_progress(slot, "checking", None)
        slot.trusted = await asyncio.to_thread(self._clear, slot.model)
        slot.shape = await asyncio.to_thread(read_shape, Path(slot.model.path))
        if not self.backend:  # the first one: what it computes with decides what a model takes
            await self._take_worker(slot)
        deadline = time.monotonic() + self._engine.memory_wait_seconds
        while True:
            async with self._one_at_a_time:
                if slot.ready.done():  # it was unloaded while it waited for its turn
                    return
                decision = self.decide(slot)
                if isinstance(decision, Fits):
                    if decision.evict and not may_evict(slot.purpose, len(slot.waiting)):
                        raise CancelledError(f"{slot.model.id} was not loaded: it needs the memory of another")
                    await self._bring_in(slot, decision.evict)
                    return
            if isinstance(decision, Refused):
                raise self._refusal(slot, decision)
            assert slot.plan is not None
            if time.monotonic() > deadline:
                seconds = self._engine.memory_wait_seconds
                raise refusal.wait_over(slot.model.id, slot.plan, seconds, decision.busy)
            names = ", ".join(identity.rpartition(":")[0] for identity in decision.busy)
            self._tell_progress(slot, f"waiting for memory: {names} is busy", None)
            await asyncio.sleep(ROOM_POLL_SECONDS)

    def decide(self, slot: Slot) -> Decision:
        """What to do for this slot now; plans it on the way."""
        assert slot.shape is not None
        slot.plan = plan_for(slot.shape, slot.demand, self.device, self.measured(slot.model))
        return place(slot.plan.bytes, self._host.room(), self._slots.claims(without=slot))

    async def verdict(self, slot: Slot) -> Verdict:
        """What `load` would do now, without doing it."""
        slot.shape = await asyncio.to_thread(read_shape, Path(slot.model.path))
        decision, room, claims = self.decide(slot), self._host.room(), self._slots.claims(without=slot)
        assert slot.plan is not None
        verdict = Verdict(
            model=slot.model.id,
            plan=slot.plan,
            outcome="fits",
            cap=room.cap,
            free=max(0, free_bytes(room, claims)),
        )
        match decision:
            case Fits(evict=others):
                return msgspec.structs.replace(verdict, outcome="evicts" if others else "fits", others=others)
            case Waits(busy=others):
                return msgspec.structs.replace(verdict, outcome="waits", others=others)
            case Refused():
                error = self._refusal(slot, decision).body()
                return msgspec.structs.replace(verdict, outcome="refused", error=error)

    def measured(self, model: Model) -> Measured | None:
        """What a load on this backend has told of the model."""
        return self._measurements.of(model, self.backend, self.versions)

    def placing(self, need: int) -> Decision:
        """What to do for a model that would need so many bytes."""
        return place(need, self._host.room(), self._slots.claims())

    def unload(self, slot: Slot, force: bool) -> Awaitable[None]:
        """From now on it takes no requests. Waits for its own unless `force`; done when its process is gone."""
        if slot.state == "leaving":
            return asyncio.shield(slot.gone)
        slot.state = "leaving"
        slot.fail(CancelledError(f"the load of {slot.model.id} was cancelled"))
        return self._leave(slot, force)

    def share_out(self) -> None:
        """Tells each model what its cache may take now: what was planned, and a share of what is free."""
        if not (claims := self._slots.claims()):  # nor is the machine asked, twice a second, for nobody
            return
        planned = {
            claim.id: claim.bytes - slot.plan.weights.bytes - slot.plan.scratch.bytes
            for claim in claims
            if (slot := self._slots.get(claim.id)) is not None and slot.plan is not None
        }
        for identity, granted in grants(self._host.room(), claims, planned).items():
            slot = self._slots.get(identity)
            if slot is None or abs(granted - slot.cache_limit) <= GRANT_STEP * slot.cache_limit:
                continue
            slot.cache_limit = granted
            if slot.state == "ready" and slot.worker is not None:
                slot.worker.grant(granted)

    # ---- how it is done ----

    async def _take_worker(self, slot: Slot) -> Worker:
        if slot.worker is not None:
            return slot.worker
        worker = self._spare.take() or await self._start(slot.model.id)
        slot.worker, worker.name = worker, slot.model.id
        if slot.ready.done():
            raise CancelledError(f"the load of {slot.model.id} was cancelled")
        self._watch(slot, worker)
        hello = await worker.ready()
        self.versions, self.backend = dict(hello.versions), hello.backend
        self._host.device_memory = hello.device_memory or None
        return worker

    async def _bring_in(self, slot: Slot, evict: tuple[str, ...]) -> None:
        slot.state, slot.evicts = "loading", bool(evict)  # from here on its plan is a claim
        slot.tell("starting", None)
        going = [found for name in evict if (found := self._slots.get(name)) is not None]
        leaving = [asyncio.ensure_future(self._evict(other, slot)) for other in going]
        try:
            async with asyncio.timeout(self._engine.load_seconds):
                worker = await self._take_worker(slot)
                if leaving:
                    names = ", ".join(other.model.id for other in going)
                    self._tell_progress(slot, f"making room: {names} leaves", None)
                    await asyncio.gather(*leaving)
                self.share_out()
                if slot.ready.done() or not worker.alive:  # it would not answer
                    raise CancelledError(f"the load of {slot.model.id} was cancelled")
                loaded = await worker.load(
                    self._command(slot), lambda p: self._tell_progress(slot, p.stage, p.fraction)
                )
            await self._check(slot, loaded)
        except (LmxError, TimeoutError) as error:
            self._spare.prepare(when_calm=True)
            for other in going:
                self._restore(other)
            if isinstance(error, TimeoutError):
                limit = self._engine.load_seconds
                raise ModelLoadError(f"{slot.model.id} was not loaded within {limit:.0f} s") from error
            raise
        if not slot.ready.done():
            slot.set_ready(loaded, worker)
        self.share_out()
        told = ", ".join(part for part in (self.backend, loaded.dtype, loaded.note) if part)
        self._journal.log(slot.model.id, "info", f"loaded in {loaded.seconds:.2f} s: {told}")
        self._spare.prepare(when_calm=True)

    def _evict(self, other: Slot, slot: Slot) -> Awaitable[None]:
        self._journal.tell("evicted", other.model.id, f"unloaded to make room for {slot.model.id}")
        return self.unload(other, False)

    async def _leave(self, slot: Slot, force: bool) -> None:
        while not force and slot.in_use:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        if slot.worker is not None:
            slot.worker.leaving = True
            slot.worker.fail(CancelledError(f"{slot.model.id} was unloaded"))
            await slot.worker.leave(self._engine.leave_seconds)
        self._slots.forget(slot)

    def _command(self, slot: Slot) -> Load:
        engine = self._engine
        options = EngineOptions(
            context_length=slot.demand.context or engine.context_length,
            max_running=slot.demand.slots or engine.max_running,
            max_waiting=self._server.max_queued,
            prefill_step=engine.prefill_step,
            prefix_cache_bytes=engine.prefix_cache_bytes,
            prefix_disk_bytes=engine.prefix_disk_bytes,
            prefix_disk_path=str(self._prefixes),
            sanitize_control_tokens=engine.sanitize_control_tokens,
            cache_bytes=slot.cache_limit,
            wired=str(engine.wired),
        )
        path, trusted = slot.model.path, slot.trusted
        return Load(instance=slot.id, model=slot.model.id, path=path, options=options, trusted=trusted)

    async def _check(self, slot: Slot, loaded: Loaded) -> None:
        """Keeps what the load told. Raises where it is more than was planned, and more than there is."""
        assert slot.plan is not None and slot.shape is not None
        memory, planned = loaded.memory, slot.plan
        process = memory.resident - memory.active - memory.cache
        measured = Measured(
            weights=memory.weights,
            process=max(LEAST_PROCESS_BYTES, process) if self.device.cpu else PROCESS_BYTES,
            cache=loaded.cache,
        )
        await self._measurements.keep(slot.model, self.backend, self.versions, measured)
        slot.plan = plan_for(slot.shape, slot.demand, self.device, measured)
        over = excess(self._host.room(), self._slots.claims())
        if over and slot.claim().bytes > planned.bytes:
            error = refusal.worse_than_planned(slot.model.id, planned, slot.claim().bytes, over)
            self._journal.tell("undone", slot.model.id, error.message)
            raise error

    def _refusal(self, slot: Slot, decision: Refused) -> LmxError:
        assert slot.plan is not None and slot.shape is not None
        claims = self._slots.claims(without=slot)
        smaller = refusal.smaller_demand(slot.shape, slot.plan, decision.free, self.device, self.measured(slot.model))
        return refusal.refusal(slot.model.id, slot.plan, self._host.room(), claims, smaller)

    def _tell_progress(self, slot: Slot, stage: str, fraction: float | None) -> None:
        if (slot.stage, slot.progress) == (stage, fraction):
            return
        slot.tell(stage, fraction)
        for ticket in slot.waiting.values():
            ticket.put(Loading(id=ticket.id, model=slot.model.id, fraction=fraction, stage=stage))
