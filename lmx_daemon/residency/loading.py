"""How a model comes into memory and leaves it: makes room first, checks after, and undoes a load that was worse than
planned. One load at a time. What to do is decided in placement.py; requests are the pool's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import CancelledError, LmxError
from lmx_daemon.contract.frames import EngineOptions, Load, Loaded
from lmx_daemon.contract.generation import Loading
from lmx_daemon.contract.types import Model, Verdict
from lmx_daemon.memory.shape import read_shape
from lmx_daemon.residency import refusal
from lmx_daemon.residency.accounts import Accounts
from lmx_daemon.residency.journal import Journal
from lmx_daemon.residency.placement import Fits, Refused, Waits, excess, free_bytes
from lmx_daemon.residency.plan import may_evict, reduced
from lmx_daemon.residency.slot import Slot, Slots
from lmx_daemon.residency.spare import Spare
from lmx_daemon.residency.worker import Worker
from lmx_daemon.settings.schema import EngineSettings, ServerSettings

ROOM_POLL_SECONDS = 0.1
DRAIN_POLL_SECONDS = 0.02
LEAST_STEP = 64
"""Prompt tokens in a step of a model that ran out of memory, at least."""


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
        accounts: Accounts,
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
        self._accounts = accounts
        self._spare = spare
        self._journal = journal
        self._start = start
        self._watch = watch
        self._restore = restore
        self._clear = clear
        self._prefixes = prefixes
        self._one_at_a_time = asyncio.Lock()

    async def load(self, slot: Slot) -> None:
        """Return when the slot is ready or its load was cancelled. Raise the error that made the load fail.

        The caller gives up the slot then."""
        if slot.ready.done():
            return
        self._tell_progress(slot, "checking", None)
        slot.trusted = await asyncio.to_thread(self._clear, slot.model)
        slot.shape = await asyncio.to_thread(read_shape, Path(slot.model.path))
        if not self._accounts.backend:  # the first one: what it computes with decides what a model takes
            await self._take_worker(slot)
        deadline = time.monotonic() + self._engine.memory_wait_seconds
        while True:
            async with self._one_at_a_time:
                if slot.ready.done():  # it was unloaded while it waited for its turn
                    return
                decision = self._accounts.decide(slot)
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

    async def verdict(self, slot: Slot) -> Verdict:
        """What `load` would do now, without doing it."""
        slot.shape = await asyncio.to_thread(read_shape, Path(slot.model.path))
        decision, room, claims = self._accounts.decide(slot), self._accounts.room(), self._slots.claims(without=slot)
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

    def unload(self, slot: Slot, force: bool) -> Awaitable[None]:
        """From now on it takes no requests. Waits for its own unless `force`; done when its process is gone."""
        if slot.state == "leaving":
            return asyncio.shield(slot.gone)
        slot.state = "leaving"
        slot.fail(CancelledError(f"the load of {slot.model.id} was cancelled"))
        return self._leave(slot, force)

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
        self._accounts.greet(hello)
        return worker

    async def _bring_in(self, slot: Slot, evict: tuple[str, ...]) -> None:
        slot.state, slot.evicts = "loading", bool(evict)  # from here on its plan is a claim
        slot.tell("starting", None)
        going = [found for name in evict if (found := self._slots.get(name)) is not None]
        leaving = [asyncio.ensure_future(self._evict(other, slot)) for other in going]
        try:
            worker = await self._take_worker(slot)
            if leaving:
                names = ", ".join(other.model.id for other in going)
                self._tell_progress(slot, f"making room: {names} leaves", None)
                await asyncio.gather(*leaving)
            self._accounts.share_out()
            if slot.ready.done() or not worker.alive:  # it would not answer
                raise CancelledError(f"the load of {slot.model.id} was cancelled")
            loaded = await worker.load(self._command(slot), lambda p: self._tell_progress(slot, p.stage, p.fraction))
            await self._check(slot, loaded)
        except LmxError:
            self._spare.prepare(when_calm=True)
            for other in going:
                self._restore(other)
            raise
        if not slot.ready.done():
            slot.set_ready(loaded, worker)
        self._accounts.share_out()
        told = ", ".join(part for part in (self._accounts.backend, loaded.dtype, loaded.note) if part)
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
            prefill_step=reduced(engine.prefill_step, LEAST_STEP, slot.ran_out),
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
        planned = slot.plan
        await self._accounts.keep(slot, loaded)
        over = excess(self._accounts.room(), self._slots.claims())
        if over and slot.claim().bytes > planned.bytes:
            error = refusal.worse_than_planned(slot.model.id, planned, slot.claim().bytes, over)
            self._journal.tell("undone", slot.model.id, error.message)
            raise error

    def _refusal(self, slot: Slot, decision: Refused) -> LmxError:
        assert slot.plan is not None and slot.shape is not None
        claims = self._slots.claims(without=slot)
        smaller = refusal.smaller_demand(
            slot.shape, slot.plan, decision.free, self._accounts.device, self._accounts.measured(slot.model)
        )
        return refusal.refusal(slot.model.id, slot.plan, self._accounts.room(), claims, smaller)

    def _tell_progress(self, slot: Slot, stage: str, fraction: float | None) -> None:
        if (slot.stage, slot.progress) == (stage, fraction):
            return
        slot.tell(stage, fraction)
        for ticket in slot.waiting.values():
            ticket.put(Loading(id=ticket.id, model=slot.model.id, fraction=fraction, stage=stage))
