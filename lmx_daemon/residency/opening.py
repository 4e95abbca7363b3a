"""From a model to its slot: opens it, sees to its load in the background, and gives it up where the load fails.

How it comes into memory is loading.py's, how long it must wait after crashes supervision.py's.
"""

import asyncio
from contextlib import suppress

from lmx_daemon.contract.errors import CancelledError, LmxError, ModelLoadError, UntrustedModelError
from lmx_daemon.contract.types import Model
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.background import Background
from lmx_daemon.residency.journal import Journal
from lmx_daemon.residency.loading import Loader
from lmx_daemon.residency.plan import Purpose, is_withdrawn
from lmx_daemon.residency.slot import Slot, Slots
from lmx_daemon.residency.supervision import Supervisor
from lmx_daemon.settings.schema import EngineSettings


class Opener:
    """Acts on the pool's slots."""

    def __init__(
        self,
        slots: Slots,
        loader: Loader,
        supervisor: Supervisor,
        engine: EngineSettings,
        *,
        journal: Journal,
        background: Background,
    ) -> None:
        self._slots = slots
        self._loader = loader
        self._supervisor = supervisor
        self._engine = engine
        self._journal = journal
        self._background = background

    def open(
        self, model: Model, demand: Demand, ttl: float | None, pinned: bool = False, purpose: Purpose = "load"
    ) -> Slot:
        """Return a slot for `model` whose load has begun. Raise UntrustedModelError, ModelLoadError or CrashLoopError
        if it is known that the model cannot be loaded."""
        if model.problem and model.code and not model.trusted:
            raise UntrustedModelError(
                f"{model.id} cannot be loaded: {model.problem}", hint="use a version of it that needs no code"
            )
        if model.problem:
            raise ModelLoadError(f"{model.id} cannot be loaded: {model.problem}")
        delay = self._supervisor.delay(model)
        slot = Slot(model, demand, ttl, pinned, purpose)
        slot.crashes, slot.ran_out = self._supervisor.crashes(model), self._supervisor.ran_out(model)
        self._slots.add(slot)
        self._background.run(self._load(slot, delay))
        return slot

    def restore(self, old: Slot) -> None:
        """Load a model again that was evicted for a load that failed; nothing is evicted for it in turn."""
        if self._slots.resident(old.model) is not None:
            return
        with suppress(LmxError):
            self.open(old.model, old.demand, old.ttl, old.pinned, "restore")
            self._journal.tell("restored", old.model.id, "loaded again, since the other model was not")

    def reconsider(self, slot: Slot) -> None:
        """Withdraw the load of `slot` if no request waits for it any more; see `is_withdrawn`."""
        if slot.state in ("starting", "loading") and not slot.ready.done() and is_withdrawn(slot.load):
            self._journal.log(slot.model.id, "info", "the load was withdrawn: no request waits for it any more")
            self._background.run(self._loader.unload(slot, True))

    async def _load(self, slot: Slot, delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            predecessors = [s.gone for s in self._slots if s.model.id == slot.model.id and s is not slot]
            if predecessors:
                await asyncio.wait(predecessors)
            await self._loader.load(slot)
        except LmxError as error:
            self._give_up(slot, error)
        except asyncio.CancelledError:
            self._give_up(slot, CancelledError(f"the load of {slot.model.id} was cancelled"))
            raise
        except OSError as error:
            self._give_up(slot, ModelLoadError(f"{slot.model.id} cannot be loaded: {error}"))
        finally:
            if not slot.ready.done():  # an error of our own, which goes to the log; nobody may wait for ever
                self._give_up(slot, ModelLoadError(f"{slot.model.id} cannot be loaded", hint="the log tells why"))

    def _give_up(self, slot: Slot, error: LmxError) -> None:
        """The load failed: whoever waits for it is told, and the slot is gone."""
        if slot.state != "leaving":
            self._journal.tell("load failed", slot.model.id, error.message)
        slot.state, slot.error = "failed", error.body()
        slot.fail(error)
        if slot.worker is not None and slot.worker.alive:  # one that has died was no leaver, and its crash counts
            slot.worker.leaving = True
            self._background.run(slot.worker.leave(self._engine.leave_seconds))
        self._slots.forget(slot)
