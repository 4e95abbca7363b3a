"""From a model to its resident: opens it, sees to its load in the background, and gives it up where the load fails.

How it comes into memory is loading.py's, how long it must wait after crashes supervision.py's.
"""

import asyncio
from contextlib import suppress

from lmx_daemon.contract.errors import CancelledError, LmxError, ModelLoadError, UntrustedModelError
from lmx_daemon.contract.models import Model
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.background import Background
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.loading import Loader
from lmx_daemon.residency.plan import Purpose, is_withdrawn
from lmx_daemon.residency.resident import Resident, Residents
from lmx_daemon.residency.supervision import Supervisor
from lmx_daemon.settings.source import SettingsSource


class Opener:
    """Acts on the pool's residents."""

    def __init__(
        self,
        residents: Residents,
        loader: Loader,
        supervisor: Supervisor,
        settings: SettingsSource,
        *,
        incidents: Incidents,
        background: Background,
    ) -> None:
        self._residents = residents
        self._loader = loader
        self._supervisor = supervisor
        self._settings = settings
        self._incidents = incidents
        self._background = background

    def open(
        self, model: Model, demand: Demand, ttl: float | None, pinned: bool = False, purpose: Purpose = "load"
    ) -> Resident:
        """Return a resident for `model` whose load has begun. Raise UntrustedModelError, ModelLoadError or
        CrashLoopError if it is known that the model cannot be loaded."""
        if model.problem and model.code and not model.trusted:
            raise UntrustedModelError(
                f"{model.id} cannot be loaded: {model.problem}", hint="use a version of it that needs no code"
            )
        if model.problem:
            raise ModelLoadError(f"{model.id} cannot be loaded: {model.problem}")
        delay = self._supervisor.delay(model)
        resident = Resident(model, demand, ttl, pinned, purpose)
        resident.crashes, resident.ran_out = self._supervisor.crashes(model), self._supervisor.ran_out(model)
        self._residents.add(resident)
        self._background.run(self._load(resident, delay))
        return resident

    def restore(self, old: Resident) -> None:
        """Load a model again that was evicted for a load that failed; nothing is evicted for it in turn."""
        if self._residents.serving(old.model) is not None:
            return
        with suppress(LmxError):
            self.open(old.model, old.demand, old.ttl, old.pinned, "restore")
            self._incidents.report("restored", old.model.id, "loaded again, since the other model was not")

    def reconsider(self, resident: Resident) -> None:
        """Withdraw the load of `resident` if no request waits for it any more; see `is_withdrawn`."""
        if resident.state in ("starting", "loading") and not resident.ready.done() and is_withdrawn(resident.load):
            self._incidents.log(resident.model.id, "info", "the load was withdrawn: no request waits for it any more")
            self._background.run(self._loader.unload(resident, True))

    async def _load(self, resident: Resident, delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            predecessors = [s.gone for s in self._residents if s.model.id == resident.model.id and s is not resident]
            if predecessors:
                await asyncio.wait(predecessors)
            await self._loader.load(resident)
        except LmxError as error:
            self._give_up(resident, error)
        except asyncio.CancelledError:
            self._give_up(resident, CancelledError(f"the load of {resident.model.id} was cancelled"))
            raise
        except OSError as error:
            self._give_up(resident, ModelLoadError(f"{resident.model.id} cannot be loaded: {error}"))
        finally:
            if not resident.ready.done():  # an error of our own, which goes to the log; nobody may wait for ever
                self._give_up(
                    resident, ModelLoadError(f"{resident.model.id} cannot be loaded", hint="the log tells why")
                )

    def _give_up(self, resident: Resident, error: LmxError) -> None:
        """The load failed: whoever waits for it is told, and the resident is gone."""
        if resident.state != "leaving":
            self._incidents.report("load failed", resident.model.id, error.message)
        resident.state, resident.error = "failed", error.body()
        resident.fail(error)
        if resident.worker is not None and resident.worker.alive:  # the end of one that has died is a crash
            resident.worker.leaving = True
            self._background.run(resident.worker.leave(self._settings.current.engine.leave_seconds))
        self._residents.forget(resident)
