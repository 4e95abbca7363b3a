"""How a model comes into memory: delay after crashes, inspection, placement, room, load. One load at a time.

Each load advances as far as it can after each event; it never waits in a task of its own. What to do for memory is
decided in placement.py, and whether a load is still needed in plan.py.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lmx_daemon.contract.errors import CancelledError, LmxError, ModelLoadError, UntrustedModelError
from lmx_daemon.contract.generation.events import Loading
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.messages import EngineKind, Grant, Load, Loaded, Submit
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.accounts import Accounts
from lmx_daemon.residency.decisions.departures import Departures
from lmx_daemon.residency.decisions.ends import Ends
from lmx_daemon.residency.decisions.loading import refusal
from lmx_daemon.residency.decisions.loading.placement import Fits, Refused, Waits
from lmx_daemon.residency.decisions.loading.turns import held_until, returns_of, rivals
from lmx_daemon.residency.decisions.plan import Purpose, is_withdrawn, may_evict
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.decisions.residents import Residents
from lmx_daemon.residency.effects import Effects
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.workers.programs import EngineProgram, LoadLimits
from lmx_daemon.settings.source import SettingsSource

TIMER_SECONDS = 0.005
"""Time by which a timer may fire early."""


class Loads:
    """The part of the scheduler that loads models. `prefixes` is the folder of stored prompt prefixes."""

    def __init__(
        self,
        residents: Residents,
        departures: Departures,
        accounts: Accounts,
        ends: Ends,
        effects: Effects,
        settings: SettingsSource,
        programs: Mapping[EngineKind, EngineProgram],
        prefixes: Path,
    ) -> None:
        self._residents = residents
        self._departures = departures
        self._accounts = accounts
        self._ends = ends
        self._effects = effects
        self._settings = settings
        self._programs = programs
        self._prefixes = prefixes
        self.draining = False
        """Whether the daemon is about to stop: evicted models are not restored then."""

    def open(
        self, model: Model, demand: Demand, ttl: float | None, pinned: bool = False, purpose: Purpose = "load"
    ) -> Resident:
        """Return a resident for `model` whose load has begun.

        Raise UntrustedModelError, ModelLoadError, CrashLoopError or OutOfMemoryError if it is known that the model
        cannot be loaded now.
        """
        if (error := faulty(model)) is not None:
            raise error
        now = self._effects.now()
        delay = self._ends.delay(model, now)
        resident = Resident(model, demand, ttl, now=now, pinned=pinned, purpose=purpose)
        resident.crashes, resident.out_of_memory = self._ends.crashes(model), self._ends.out_of_memory(model, now)
        resident.start_at = now + delay
        self._residents.add(resident)
        if delay:
            self._effects.after(delay, self.advance)
        self.advance()
        return resident

    def refused(self, model: Model) -> LmxError | None:
        """Return the error that `open` would raise for a model now; None if its load would begin."""
        try:
            self._ends.delay(model, self._effects.now())
        except LmxError as error:
            return error
        return faulty(model)

    def advance(self) -> None:
        """Take each load as far as it can get now, older ones first. A step of one may free the way for another."""
        while any(self._step(resident) for resident in self._residents):
            pass

    def reconsider(self, resident: Resident) -> None:
        """Withdraw a load if no request waits for it any more; see `is_withdrawn`."""
        if resident.starting and is_withdrawn(resident.load_at(self._effects.now())):
            self._effects.log(resident.model.id, "the load was withdrawn: no request waits for it any more")
            self.cancel(resident)

    def cancel(self, resident: Resident) -> None:
        """End a load that is not wanted any more."""
        self.fail(resident, CancelledError(f"the load of {resident.model.id} was cancelled"), report=False)

    def fail(
        self, resident: Resident, error: LmxError, *, report: bool = True, leave_seconds: float | None = None
    ) -> None:
        """End a load with an error. Its requests fail, its process leaves, and evicted models are loaded again."""
        if report:
            self._effects.report("load failed", resident.model.id, error.message)
        resident.failure, evicted = error, resident.evicted
        resident.evicted = ()
        self._departures.end(resident, error, leave_seconds)
        if resident.process_requested:  # it may have taken the spare
            self._effects.prepare_spares()
        for other in evicted:
            self._restore(other)

    def progress(self, resident: Resident, stage: str, fraction: float | None) -> None:
        """Note a step of a load, and inform the requests that wait for it."""
        if (resident.stage, resident.progress) == (stage, fraction):
            return
        resident.stage, resident.progress = stage, fraction
        for active in resident.waiting:
            active.put(Loading(id=active.id, model=resident.model.id, fraction=fraction, stage=stage))
        self._effects.notify(resident.id)

    def complete(self, resident: Resident, loaded: Loaded) -> None:
        """Compare a load with its plan; serve the requests that wait for it, or undo it."""
        assert resident.plan is not None
        now, planned = self._effects.now(), resident.plan
        if self._accounts.learn(resident, loaded, now):
            self._effects.keep_measurements()
        over = self._accounts.excess()
        if over and resident.claim().bytes > planned.bytes:
            error = refusal.worse_than_planned(resident.model.id, planned, resident.claim().bytes, over)
            self._effects.report("undone", resident.model.id, error.message)
            self.fail(resident, error)
            return
        resident.evicted = ()
        resident.set_loaded(loaded, now)
        for active in resident.waiting:
            try:
                self.submit(resident, active, now - active.arrived)
            except LmxError as error:
                active.fail(error)
        self.share_out()
        details = ", ".join(
            part for part in (self._accounts.backend_of(resident.model.kind), loaded.dtype, loaded.note) if part
        )
        self._effects.log(resident.model.id, f"loaded in {loaded.seconds:.2f} s: {details}")
        self._effects.prepare_spares()
        self._effects.notify(resident.id)

    def submit(self, resident: Resident, active: ActiveRequest, load_seconds: float) -> None:
        """Send a request to the worker of a loaded model. Raise RequestError if no frame can hold it."""
        waited = self._effects.now() - active.arrived
        self._effects.send(resident.id, Submit(request=active.request, waited=waited, load_seconds=load_seconds))
        active.at_worker = True

    def share_out(self) -> None:
        """Grant each loaded model its share of the memory for keys and values."""
        for resident, granted in self._accounts.share_out():
            if resident.phase == "ready":
                self._effects.send(resident.id, Grant(cache_bytes=granted))

    def refusal(self, resident: Resident, decision: Refused) -> LmxError:
        """Return the error of a load that does not fit, with numbers and what would help."""
        assert resident.plan is not None
        claims = self._residents.claims(without=resident)
        smaller = self._accounts.smaller(resident, decision.free)
        return refusal.refusal(resident.model.id, resident.plan, self._accounts.room(), claims, smaller)

    def _step(self, resident: Resident) -> bool:
        """Take the next step of a load. Return whether its phase has changed."""
        match resident.phase:
            case "delayed":
                return self._inspect(resident)
            case "placing":
                return self._place(resident)
            case "making room":
                return self._load(resident)
            case _:
                return False

    def _inspect(self, resident: Resident) -> bool:
        if self._effects.now() < resident.start_at - TIMER_SECONDS:
            return False
        if any(other.model.id == resident.model.id for other in self._residents if other is not resident):
            return False  # the last process of the same model has not ended
        resident.phase = "inspecting"
        self.progress(resident, "checking", None)
        self._effects.inspect(resident.id, resident.model)
        return True

    def _place(self, resident: Resident) -> bool:
        if not self._accounts.has_greeted(resident.model.kind):  # the device decides what a model takes
            self._request_process(resident)
            return False
        now = self._effects.now()
        if resident.wait_until is None:
            resident.wait_until = now + self._settings.current.engine.memory_wait_seconds
            self._effects.after(resident.wait_until - now + TIMER_SECONDS, self.advance)
        if any(other.state == "loading" for other in self._residents):
            return False
        decision = self._accounts.decide(resident)
        match decision:
            case Fits(evict=evict) if evict and not may_evict(resident.purpose, len(resident.waiting)):
                error = CancelledError(f"{resident.model.id} was not loaded: it needs the memory of another")
                self.fail(resident, error)
            case Fits(evict=evict) if (held := self._held(resident, evict)) is not None:
                self.progress(resident, f"waiting: {held.model.id} has just taken its place", None)
                return False
            case Fits(evict=evict):
                self._make_room(resident, evict)
            case Refused():
                self.fail(resident, self.refusal(resident, decision))
            case Waits(busy=busy) if now > resident.wait_until:
                assert resident.plan is not None
                seconds = self._settings.current.engine.memory_wait_seconds
                self.fail(resident, refusal.wait_over(resident.model.id, resident.plan, seconds, busy))
            case Waits(busy=busy):
                names = ", ".join(identity.rpartition(":")[0] for identity in busy)
                self.progress(resident, f"waiting for memory: {names} is busy", None)
                return False
        return True

    def _make_room(self, resident: Resident, evict: tuple[str, ...]) -> None:
        """Evict idle models for a load, and request its process."""
        resident.phase = "making room"  # from here on its plan is a claim
        self.progress(resident, "starting", None)
        resident.evicted = tuple(found for name in evict if (found := self._residents.get(name)) is not None)
        resident.displaced = frozenset(other.model.id for other in resident.evicted)
        resident.returns = returns_of(resident.model.id, resident.evicted)
        for other in resident.evicted:
            self._effects.report("evicted", other.model.id, f"unloaded to make room for {resident.model.id}")
            self._departures.begin(other, force=False)
        self._request_process(resident)

    def _held(self, resident: Resident, evict: tuple[str, ...]) -> Resident | None:
        """Return a model of `evict` that stays for now; the load continues when its time is over. See turns.py."""
        if resident.purpose != "requests":
            return None
        now, limit = self._effects.now(), self._settings.current.engine.memory_wait_seconds / 2
        leaving = [found for name in evict if (found := self._residents.get(name)) is not None]
        for other in rivals(resident.model.id, leaving):
            if (until := held_until(other, limit)) > now + TIMER_SECONDS:
                self._effects.after(until - now, self.advance)
                return other
        return None

    def _load(self, resident: Resident) -> bool:
        if resident.process is None or resident.process.hello is None:
            return False
        leaving = [other.model.id for other in resident.evicted if self._residents.get(other.id) is other]
        if leaving:
            self.progress(resident, f"making room: {', '.join(leaving)} leaves", None)
            return False
        self.share_out()
        resident.phase = "loading"
        try:
            self._effects.send(resident.id, self._command(resident))
        except LmxError as error:
            self.fail(resident, error)
        return True

    def _request_process(self, resident: Resident) -> None:
        if not resident.process_requested:
            resident.process_requested = True
            self._effects.start(resident.id, resident.model)

    def _restore(self, old: Resident) -> None:
        """Load an evicted model again, since the load that it made room for has failed. It evicts nothing in turn."""
        if self.draining or self._residents.serving(old.model) is not None:
            return
        with suppress(LmxError):
            self.open(old.model, old.demand, old.ttl, old.pinned, "restore")
            self._effects.report("restored", old.model.id, "loaded again, since the other model was not")

    def _command(self, resident: Resident) -> Load:
        limits = LoadLimits(resident.demand, resident.cache_limit, resident.out_of_memory, self._prefixes)
        options = self._programs[resident.model.kind].options(self._settings.current, limits)
        return Load(
            instance=resident.id,
            model=resident.model.id,
            path=resident.model.path,
            options=options,
            trusted=resident.trusted,
        )


def faulty(model: Model) -> LmxError | None:
    """Return the error of a load of a model whose files have a known problem; None if they have none."""
    if model.problem and model.code and not model.trusted:
        return UntrustedModelError(
            f"{model.id} cannot be loaded: {model.problem}", hint="use a version of it that needs no code"
        )
    return ModelLoadError(f"{model.id} cannot be loaded: {model.problem}") if model.problem else None
