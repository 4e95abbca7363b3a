"""Memory of the machine and of the models in it: what a load needs, what each model holds, may hold and is granted.

It measures and computes; loading.py and supervision.py act on its answers.
"""

import sys
from typing import Protocol

from lmx_daemon.contract.frames import Hello, Loaded
from lmx_daemon.contract.types import Model
from lmx_daemon.memory.budget import MemoryBudget, ProcessUse
from lmx_daemon.memory.need import Device, Measured, most_bytes, plan_for, process_bytes
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.placement import Decision, grants, place
from lmx_daemon.residency.plan import reduced
from lmx_daemon.residency.slot import Slot, Slots
from lmx_daemon.settings.schema import EngineSettings

GRANT_STEP = 0.05
"""A grant is sent again when it changes by more than this share."""


class Machine(Protocol):
    """The host's memory."""

    device_memory: int | None

    def room(self) -> MemoryBudget: ...

    def use(self, pid: int) -> ProcessUse: ...


class Accounts:
    """Reads the pool's slots and writes their plans, samples and grants."""

    def __init__(self, slots: Slots, engine: EngineSettings, host: Machine, measurements: Measurements) -> None:
        self._slots = slots
        self._engine = engine
        self._host = host
        self._measurements = measurements
        self.versions: dict[str, str] = {}
        self.backend = ""

    @property
    def device(self) -> Device:
        on_cpu = self.backend.startswith("cpu") if self.backend else sys.platform != "darwin"
        return Device(cpu=on_cpu, prefill_step=self._engine.prefill_step)

    def greet(self, hello: Hello) -> None:
        """Note what the first worker has found of the device."""
        self.versions, self.backend = dict(hello.versions), hello.backend
        self._host.device_memory = hello.device_memory or None

    def room(self) -> MemoryBudget:
        return self._host.room()

    def measured(self, model: Model) -> Measured | None:
        """Return what a load of the model on this backend has measured."""
        return self._measurements.of(model, self.backend, self.versions)

    def plan(self, slot: Slot) -> None:
        assert slot.shape is not None
        slot.plan = plan_for(slot.shape, slot.demand, self.device, self.measured(slot.model))

    def decide(self, slot: Slot) -> Decision:
        """Return what to do for the load of this slot now; plans it."""
        self.plan(slot)
        assert slot.plan is not None
        return place(slot.plan.bytes, self._host.room(), self._slots.claims(without=slot))

    def placing(self, need: int) -> Decision:
        """Return what to do for a model that would need so many bytes."""
        return place(need, self._host.room(), self._slots.claims())

    async def keep(self, slot: Slot, loaded: Loaded) -> None:
        """Keep what a load has measured, and correct the plan by it."""
        memory = loaded.memory
        self.observe(slot)
        counted = memory.active + memory.cache
        process = process_bytes(max(slot.held, counted), counted, self.device)
        measured = Measured(weights=memory.weights, process=process, cache=loaded.cache)
        await self._measurements.keep(slot.model, self.backend, self.versions, measured)
        self.plan(slot)

    def observe(self, slot: Slot) -> None:
        """Sample the slot's process."""
        if slot.worker is not None and slot.worker.alive:
            slot.observe(self._host.use(slot.worker.pid), self.most(slot))

    def most(self, slot: Slot) -> int | None:
        """Return how many bytes the slot's process may hold; None before it is planned."""
        if slot.plan is None or slot.shape is None:
            return None
        loaded = slot.loaded
        return most_bytes(
            slot.shape,
            slot.plan,
            self.device,
            self.measured(slot.model),
            granted=slot.cache_allowed if loaded is not None else 0,
            context=loaded.capabilities.context_length if loaded is not None else slot.plan.context,
            slots=slot.demand.slots or self._engine.max_running,
        )

    def share_out(self) -> None:
        """Grant each model's cache what was planned or is in use, and a share of what is free."""
        if not (claims := self._slots.claims()):  # an idle daemon does not ask the system twice a second
            return
        planned = {slot.id: slot.cache_needed for slot in self._slots if slot.plan is not None}
        for identity, granted in grants(self._host.room(), claims, planned).items():
            slot = self._slots.get(identity)
            if slot is not None:
                granted = reduced(granted, planned[identity], slot.ran_out)
            if slot is None or abs(granted - slot.cache_limit) <= GRANT_STEP * slot.cache_limit:
                continue
            slot.cache_limit = granted
            if slot.state == "ready" and slot.worker is not None:
                slot.worker.grant(granted)
