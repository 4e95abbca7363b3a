"""How a model comes into memory and leaves it: makes room first, checks after, and undoes a load that was worse than
planned. One load at a time. What to do is decided in placement.py; requests are the pool's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import CancelledError, LmxError
from lmx_daemon.contract.events import Loading
from lmx_daemon.contract.models import Model, Verdict
from lmx_daemon.contract.worker.messages import Load, Loaded, TextOptions
from lmx_daemon.memory.shape import read_shape
from lmx_daemon.residency import refusal
from lmx_daemon.residency.accounts import Accounts
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.placement import Fits, Refused, Waits, excess, free_bytes
from lmx_daemon.residency.plan import may_evict, reduced
from lmx_daemon.residency.resident import Resident, Residents
from lmx_daemon.residency.spare import Spare
from lmx_daemon.residency.worker import Worker
from lmx_daemon.settings.source import SettingsSource

ROOM_POLL_SECONDS = 0.1
DRAIN_POLL_SECONDS = 0.02
LEAST_STEP = 64
"""Prompt tokens in a step of a model that ran out of memory, at least."""


class Loader:
    """Acts on the pool's residents. `watch` is told of each worker that a resident was given; `restore` opens one anew;
    `clear`, called in a thread, says whether a model's code may run, or refuses it; `prefixes` is where workers keep
    what they have computed of prompts."""

    def __init__(
        self,
        residents: Residents,
        settings: SettingsSource,
        *,
        accounts: Accounts,
        spare: Spare,
        incidents: Incidents,
        start: Callable[[str], Awaitable[Worker]],
        watch: Callable[[Resident, Worker], object],
        restore: Callable[[Resident], None],
        clear: Callable[[Model], bool],
        prefixes: Path,
    ) -> None:
        self._residents = residents
        self._settings = settings
        self._accounts = accounts
        self._spare = spare
        self._incidents = incidents
        self._start = start
        self._watch = watch
        self._restore = restore
        self._clear = clear
        self._prefixes = prefixes
        self._one_at_a_time = asyncio.Lock()

    async def load(self, resident: Resident) -> None:
        """Return when the resident is ready or its load was cancelled. Raise the error that made the load fail.

        The caller gives up the resident then."""
        if resident.ready.done():
            return
        self._set_progress(resident, "checking", None)
        resident.trusted = await asyncio.to_thread(self._clear, resident.model)
        resident.shape = await asyncio.to_thread(read_shape, Path(resident.model.path))
        if not self._accounts.backend:  # the first one: what it computes with decides what a model takes
            await self._take_worker(resident)
        deadline = time.monotonic() + self._settings.current.engine.memory_wait_seconds
        while True:
            async with self._one_at_a_time:
                if resident.ready.done():  # it was unloaded while it waited for its turn
                    return
                decision = self._accounts.decide(resident)
                if isinstance(decision, Fits):
                    if decision.evict and not may_evict(resident.purpose, len(resident.waiting)):
                        raise CancelledError(f"{resident.model.id} was not loaded: it needs the memory of another")
                    await self._bring_in(resident, decision.evict)
                    return
            if isinstance(decision, Refused):
                raise self._refusal(resident, decision)
            assert resident.plan is not None
            if time.monotonic() > deadline:
                seconds = self._settings.current.engine.memory_wait_seconds
                raise refusal.wait_over(resident.model.id, resident.plan, seconds, decision.busy)
            names = ", ".join(identity.rpartition(":")[0] for identity in decision.busy)
            self._set_progress(resident, f"waiting for memory: {names} is busy", None)
            await asyncio.sleep(ROOM_POLL_SECONDS)

    async def verdict(self, resident: Resident) -> Verdict:
        """What `load` would do now, without doing it."""
        resident.shape = await asyncio.to_thread(read_shape, Path(resident.model.path))
        decision, room, claims = (
            self._accounts.decide(resident),
            self._accounts.room(),
            self._residents.claims(without=resident),
        )
        assert resident.plan is not None
        verdict = Verdict(
            model=resident.model.id,
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
            case Refused():
                error = self._refusal(resident, decision).body()
                return msgspec.structs.replace(verdict, outcome="refused", error=error)

    def unload(self, resident: Resident, force: bool) -> Awaitable[None]:
        """From now on it takes no requests. Waits for its own unless `force`; done when its process is gone."""
        if resident.state == "leaving":
            return asyncio.shield(resident.gone)
        resident.state = "leaving"
        resident.fail(CancelledError(f"the load of {resident.model.id} was cancelled"))
        return self._leave(resident, force)

    # ---- how it is done ----

    async def _take_worker(self, resident: Resident) -> Worker:
        if resident.worker is not None:
            return resident.worker
        worker = self._spare.take() or await self._start(resident.model.id)
        resident.worker, worker.name = worker, resident.model.id
        if resident.ready.done():
            raise CancelledError(f"the load of {resident.model.id} was cancelled")
        self._watch(resident, worker)
        hello = await worker.ready()
        self._accounts.greet(hello)
        return worker

    async def _bring_in(self, resident: Resident, evict: tuple[str, ...]) -> None:
        resident.state, resident.evicts = "loading", bool(evict)  # from here on its plan is a claim
        resident.set_progress("starting", None)
        going = [found for name in evict if (found := self._residents.get(name)) is not None]
        leaving = [asyncio.ensure_future(self._evict(other, resident)) for other in going]
        try:
            worker = await self._take_worker(resident)
            if leaving:
                names = ", ".join(other.model.id for other in going)
                self._set_progress(resident, f"making room: {names} leaves", None)
                await asyncio.gather(*leaving)
            self._accounts.share_out()
            if resident.ready.done() or not worker.alive:  # it would not answer
                raise CancelledError(f"the load of {resident.model.id} was cancelled")
            loaded = await worker.load(
                self._command(resident), lambda p: self._set_progress(resident, p.stage, p.fraction)
            )
            await self._check(resident, loaded)
        except LmxError:
            self._spare.prepare(when_calm=True)
            for other in going:
                self._restore(other)
            raise
        if not resident.ready.done():
            resident.set_ready(loaded, worker)
        self._accounts.share_out()
        told = ", ".join(part for part in (self._accounts.backend, loaded.dtype, loaded.note) if part)
        self._incidents.log(resident.model.id, "info", f"loaded in {loaded.seconds:.2f} s: {told}")
        self._spare.prepare(when_calm=True)

    def _evict(self, other: Resident, resident: Resident) -> Awaitable[None]:
        self._incidents.report("evicted", other.model.id, f"unloaded to make room for {resident.model.id}")
        return self.unload(other, False)

    async def _leave(self, resident: Resident, force: bool) -> None:
        while not force and resident.in_use:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        if resident.worker is not None:
            resident.worker.leaving = True
            resident.worker.fail(CancelledError(f"{resident.model.id} was unloaded"))
            await resident.worker.leave(self._settings.current.engine.leave_seconds)
        self._residents.forget(resident)

    def _command(self, resident: Resident) -> Load:
        engine = self._settings.current.engine
        options = TextOptions(
            context_length=resident.demand.context or engine.context_length,
            max_running=resident.demand.slots or engine.max_running,
            max_waiting=self._settings.current.server.max_queued,
            prefill_step=reduced(engine.prefill_step, LEAST_STEP, resident.ran_out),
            prefix_cache_bytes=engine.prefix_cache_bytes,
            prefix_disk_bytes=engine.prefix_disk_bytes,
            prefix_disk_path=str(self._prefixes),
            sanitize_control_tokens=engine.sanitize_control_tokens,
            cache_bytes=resident.cache_limit,
            wired=str(engine.wired),
        )
        path, trusted = resident.model.path, resident.trusted
        return Load(instance=resident.id, model=resident.model.id, path=path, options=options, trusted=trusted)

    async def _check(self, resident: Resident, loaded: Loaded) -> None:
        """Keeps what the load told. Raises where it is more than was planned, and more than there is."""
        assert resident.plan is not None and resident.shape is not None
        planned = resident.plan
        await self._accounts.keep(resident, loaded)
        over = excess(self._accounts.room(), self._residents.claims())
        if over and resident.claim().bytes > planned.bytes:
            error = refusal.worse_than_planned(resident.model.id, planned, resident.claim().bytes, over)
            self._incidents.report("undone", resident.model.id, error.message)
            raise error

    def _refusal(self, resident: Resident, decision: Refused) -> LmxError:
        assert resident.plan is not None and resident.shape is not None
        claims = self._residents.claims(without=resident)
        smaller = refusal.smaller_demand(
            resident.shape, resident.plan, decision.free, self._accounts.device, self._accounts.measured(resident.model)
        )
        return refusal.refusal(resident.model.id, resident.plan, self._accounts.room(), claims, smaller)

    def _set_progress(self, resident: Resident, stage: str, fraction: float | None) -> None:
        if (resident.stage, resident.progress) == (stage, fraction):
            return
        resident.set_progress(stage, fraction)
        for active in resident.waiting.values():
            active.put(Loading(id=active.id, model=resident.model.id, fraction=fraction, stage=stage))
