"""The scheduler of models: events come in, decisions change its state, effects go out.

All events are handled on one loop, none of them waits, and no effect calls back before it returns. So nothing comes
between a decision and the change of state that follows it, and every race is an order of events.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.errors import LmxError, ShuttingDownError
from lmx_daemon.contract.generation.deadline import patience, too_late
from lmx_daemon.contract.generation.events import Event, Loading
from lmx_daemon.contract.generation.requests import Computation, Request
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.messages import Cancel, EngineKind, Loaded, LoadProgress
from lmx_daemon.memory.need import Demand
from lmx_daemon.memory.shape import ModelShape
from lmx_daemon.residency.accounts import Accounts
from lmx_daemon.residency.decisions import own_settings
from lmx_daemon.residency.decisions.context import check_context
from lmx_daemon.residency.decisions.departures import Departures
from lmx_daemon.residency.decisions.ends import Ends
from lmx_daemon.residency.decisions.loading import refusal
from lmx_daemon.residency.decisions.loading.loads import TIMER_SECONDS, Loads
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.decisions.residents import Residents
from lmx_daemon.residency.decisions.supervision import Supervision
from lmx_daemon.residency.effects import Effects, Process
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.requests.places import place_for, places
from lmx_daemon.residency.requests.request_registry import RequestRegistry
from lmx_daemon.residency.workers.programs import EngineProgram
from lmx_daemon.settings.source import SettingsSource

DRAINED = ""
"""Name under which `Effects.notify` announces that no request is under way."""


class ResidencyScheduler:
    """Decides which models are in memory, and which requests go to which worker."""

    def __init__(
        self,
        residents: Residents,
        requests: RequestRegistry,
        accounts: Accounts,
        effects: Effects,
        settings: SettingsSource,
        programs: Mapping[EngineKind, EngineProgram],
        prefixes: Path,
    ) -> None:
        self._residents = residents
        self._requests = requests
        self._accounts = accounts
        self._effects = effects
        self._settings = settings
        self._ends = Ends(settings)
        self._departures = Departures(residents, requests, effects, settings)
        self.loads = Loads(residents, self._departures, accounts, self._ends, effects, settings, programs, prefixes)
        self._supervision = Supervision(
            residents, self.loads, self._departures, accounts, self._ends, effects, settings
        )

    @property
    def draining(self) -> bool:
        """Return whether the daemon is about to stop."""
        return self.loads.draining

    def stalled(self) -> str | None:
        """Return which model makes no progress; None if all do."""
        return self._supervision.stalled()

    # ---- events of clients ----

    def on_request(self, request: Request, model: Model) -> ActiveRequest:
        """Handle a new request: send it to the worker, or load its model.

        Raise BusyError, ConflictError, RequestError, ShuttingDownError, or what `Loads.open` raises.
        """
        self._refuse_draining()
        settings = self._settings.current
        own = own_settings.of_model(settings, model)
        request = own_settings.with_own_settings(request, own)
        check_context(request, model, self._residents.serving(model), own_settings.context_setting(settings, own))
        self._requests.check_new(request.id)
        resident = self._resident_for(model, request)
        yielded = place_for(request, resident.requests.values(), places(settings))
        active = self._requests.open(request, resident.id)
        if yielded is not None:
            yielded.fail(refusal.place_yielded(model.id))
            self.on_cancel(yielded)
        if resident.phase == "ready" or resident.finishing:
            try:
                self.loads.submit(resident, active, 0.0)
            except LmxError:
                self._requests.release(active)
                raise
        else:
            active.put(Loading(id=active.id, model=model.id, fraction=resident.progress))
            if (limit := patience(request, begun=False)) is not None:
                self._effects.after(limit + TIMER_SECONDS, partial(self.on_deadline, active.id))
        return active

    def on_cancel(self, active: ActiveRequest) -> None:
        """Handle the cancellation of a request, by its client or because no reader is left."""
        resident = self._residents.get(active.instance)
        if active.at_worker:
            if resident is not None and not resident.process_dismissed:
                self._effects.send(resident.id, Cancel(id=active.id))
        else:
            active.finish_cancelled()
            self._dismissed(resident)
        self._notify_if_drained()

    def on_release(self, active: ActiveRequest) -> None:
        """Handle the end of a request's reader; a request that still runs is cancelled."""
        self._requests.release(active)
        if (resident := self._residents.get(active.instance)) is not None:
            resident.touch(self._effects.now())
        self._notify_if_drained()

    def on_deadline(self, request_id: str) -> None:
        """Handle the time until which a request may wait for its model."""
        active = self._requests.find(request_id)
        if active is None or not active.waiting:
            return
        limit = patience(active.request, begun=False)
        if limit is not None and self._effects.now() - active.arrived >= limit:
            active.fail(too_late(limit, begun=False))
            self._dismissed(self._residents.get(active.instance))
            self._notify_if_drained()

    def on_load(self, request: LoadRequest, model: Model) -> Resident:
        """Handle an explicit load: return the resident, which is or will be loaded.

        Raise ConflictError if the model is loaded differently, ShuttingDownError, or what `Loads.open` raises.
        """
        self._refuse_draining()
        asked = Demand(request.context_length, request.slots)
        request = own_settings.with_own_sizes(request, own_settings.of_model(self._settings.current, model))
        demand = Demand(request.context_length, request.slots)
        resident = self._residents.serving(model)
        conflict = None if resident is None else refusal.loaded_differently(model.id, resident.demand, asked)
        if resident is None or (conflict is not None and resident.finishing):
            return self.loads.open(model, demand, request.ttl, bool(request.pin))
        if conflict is not None:
            raise conflict
        if resident.finishing:
            self._departures.revoke(resident)
        resident.ttl, resident.purpose = request.ttl, "load"
        resident.pinned = resident.pinned if request.pin is None else request.pin
        self.loads.advance()
        return resident

    def on_unload(self, request: UnloadRequest) -> list[Resident]:
        """Handle an explicit unload: return the residents that leave. Raise NotFoundError if there are none."""
        chosen = [found for found in self._residents if request.id in (found.id, found.model.id)]
        if not chosen:
            raise refusal.not_loaded(request.id, [found.id for found in self._residents])
        for resident in chosen:
            if resident.starting:
                self.loads.cancel(resident)
            else:
                self._departures.begin(resident, force=request.force)
        self.loads.advance()
        return chosen

    def on_drain(self, seconds: float) -> None:
        """Handle the daemon's shutdown: new requests are refused, and those under way fail after `seconds`."""
        self.loads.draining = True
        if seconds > 0:
            self._effects.after(seconds, self._fail_the_rest)
        else:
            self._fail_the_rest()
        self._notify_if_drained()

    def on_close(self) -> None:
        """Handle the end of the daemon: all loads are cancelled, and no model is loaded any more."""
        self.on_drain(0.0)
        for resident in self._residents:
            if resident.starting:
                self.loads.cancel(resident)
            else:
                resident.process_dismissed = True  # all processes are asked to leave: their end is no crash

    # ---- events of workers and files ----

    def on_inspected(self, instance: str, shape: ModelShape, trusted: bool) -> None:
        """Handle the end of the inspection of a model's files."""
        resident = self._residents.get(instance)
        if resident is not None and resident.phase == "inspecting":
            resident.shape, resident.trusted, resident.phase = shape, trusted, "placing"
            self.loads.advance()

    def on_started(self, instance: str, process: Process) -> None:
        """Handle a process that was started for an instance. The instance may have gone by now."""
        resident = self._residents.get(instance)
        if resident is None:
            self._effects.leave(instance, self._settings.current.engine.leave_seconds)
        else:
            resident.process = process

    def on_hello(self, instance: str) -> None:
        """Handle the end of a worker's imports."""
        resident = self._residents.get(instance)
        if resident is not None and resident.process is not None and resident.process.hello is not None:
            self._accounts.greet(resident.model.kind, resident.process.hello)
            self.loads.advance()

    def on_load_progress(self, instance: str, progress: LoadProgress) -> None:
        """Handle a step of a load."""
        resident = self._residents.get(instance)
        if resident is not None and resident.starting:
            self.loads.progress(resident, progress.stage, progress.fraction)

    def on_loaded(self, instance: str, loaded: Loaded) -> None:
        """Handle the end of a load."""
        resident = self._residents.get(instance)
        if resident is not None and resident.phase == "loading":
            self.loads.complete(resident, loaded)
            self.loads.advance()

    def on_load_failed(self, instance: str, error: LmxError) -> None:
        """Handle a failure of the inspection, of the start of a process, or of a load."""
        resident = self._residents.get(instance)
        if resident is not None and resident.starting:
            self.loads.fail(resident, error)
            self.loads.advance()

    def on_events(self, instance: str, events: Sequence[Event]) -> None:
        """Handle the events of one engine step."""
        if self._requests.deliver(instance, events):
            self._request_ended(self._residents.get(instance))

    def on_worker_ended(self, instance: str, error: LmxError) -> None:
        """Handle the end of a worker's process: a crash, unless it was asked to leave."""
        resident = self._residents.get(instance)
        if resident is None:
            return
        if not resident.process_dismissed:
            kind = self._ends.count(resident.model, error, self._effects.now())
            self._effects.report(kind, resident.model.id, error.message)
        if resident.starting:
            self.loads.fail(resident, error)
        else:
            self._departures.end(resident, error)
        self.loads.advance()
        self._notify_if_drained()

    def on_tick(self) -> None:
        """Inspect all residents, every TICK_SECONDS."""
        self._supervision.tick(self._end_unread)

    # ---- decisions ----

    def _refuse_draining(self) -> None:
        if self.draining:
            raise ShuttingDownError("lmx is shutting down", hint="start it again with: lmx serve")

    def _resident_for(self, model: Model, request: Request) -> Resident:
        resident = self._residents.serving(model)
        if resident is None:
            settings = self._settings.current
            own = own_settings.of_model(settings, model)
            demand = own_settings.demand_for(request, settings, own)
            idle = own_settings.idle_limit(request, settings, own)
            return self.loads.open(model, demand, idle, bool(own.pin), "requests")
        if isinstance(request, Computation) and request.ttl is not None and resident.ttl is not None:
            resident.ttl = request.ttl
        return resident

    def _dismissed(self, resident: Resident | None) -> None:
        """Go on after a request has ceased to wait for a load."""
        if resident is None:
            return
        if not resident.waiting:
            resident.unneeded_since = self._effects.now()
        self.loads.reconsider(resident)
        self._request_ended(resident)

    def _request_ended(self, resident: Resident | None) -> None:
        """Go on after a request has ended: its model may be idle now."""
        if resident is not None and not resident.in_use:
            self._departures.advance(resident)
            self.loads.advance()
        self._notify_if_drained()

    def _end_unread(self) -> None:
        for active in self._requests.unread(self._settings.current.server.stall_seconds):
            self.on_release(active)

    def _fail_the_rest(self) -> None:
        self._requests.fail(ShuttingDownError("lmx was shut down before the answer was complete"))
        self._notify_if_drained()

    def _notify_if_drained(self) -> None:
        if self.draining and not self._requests.busy():
            self._effects.notify(DRAINED)
