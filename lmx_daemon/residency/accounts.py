"""Memory of the machine and of the models in it: what a load needs, what each model holds, may hold and is granted.

It measures and computes; loading.py and supervision.py act on its answers.
"""

import sys
from typing import Protocol

from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.messages import Hello, Loaded
from lmx_daemon.memory.budget import MemoryBudget, ProcessUse
from lmx_daemon.memory.need import Device, Measured, most_bytes, plan_for, process_bytes
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.placement import Decision, grants, place
from lmx_daemon.residency.plan import reduced
from lmx_daemon.residency.resident import Resident, Residents
from lmx_daemon.settings.source import SettingsSource

GRANT_STEP = 0.05
"""A grant is sent again when it changes by more than this share."""


class Machine(Protocol):
    """The host's memory."""

    device_memory: int | None

    def room(self) -> MemoryBudget: ...

    def use(self, pid: int) -> ProcessUse: ...


class Accounts:
    """Reads the pool's residents and writes their plans, samples and grants."""

    def __init__(
        self, residents: Residents, settings: SettingsSource, host: Machine, measurements: Measurements
    ) -> None:
        self._residents = residents
        self._settings = settings
        self._host = host
        self._measurements = measurements
        self.versions: dict[str, str] = {}
        self.backend = ""

    @property
    def device(self) -> Device:
        on_cpu = self.backend.startswith("cpu") if self.backend else sys.platform != "darwin"
        return Device(cpu=on_cpu, prefill_step=self._settings.current.engine.prefill_step)

    def greet(self, hello: Hello) -> None:
        """Note what the first worker has found of the device."""
        self.versions, self.backend = dict(hello.versions), hello.backend
        self._host.device_memory = hello.device_memory or None

    def room(self) -> MemoryBudget:
        return self._host.room()

    def measured(self, model: Model) -> Measured | None:
        """Return what a load of the model on this backend has measured."""
        return self._measurements.of(model, self.backend, self.versions)

    def plan(self, resident: Resident) -> None:
        assert resident.shape is not None
        resident.plan = plan_for(resident.shape, resident.demand, self.device, self.measured(resident.model))

    def decide(self, resident: Resident) -> Decision:
        """Return what to do for the load of this resident now; plans it."""
        self.plan(resident)
        assert resident.plan is not None
        return place(resident.plan.bytes, self._host.room(), self._residents.claims(without=resident))

    def placing(self, need: int) -> Decision:
        """Return what to do for a model that would need so many bytes."""
        return place(need, self._host.room(), self._residents.claims())

    async def keep(self, resident: Resident, loaded: Loaded) -> None:
        """Keep what a load has measured, and correct the plan by it."""
        memory = loaded.memory
        self.observe(resident)
        counted = memory.active + memory.cache
        process = process_bytes(max(resident.held, counted), counted, self.device)
        measured = Measured(weights=memory.weights, process=process, cache=loaded.cache)
        await self._measurements.keep(resident.model, self.backend, self.versions, measured)
        self.plan(resident)

    def observe(self, resident: Resident) -> None:
        """Sample the resident's process."""
        if resident.worker is not None and resident.worker.alive:
            resident.observe(self._host.use(resident.worker.pid), self.most(resident))

    def most(self, resident: Resident) -> int | None:
        """Return how many bytes the resident's process may hold; None before it is planned."""
        if resident.plan is None or resident.shape is None:
            return None
        loaded = resident.loaded
        return most_bytes(
            resident.shape,
            resident.plan,
            self.device,
            self.measured(resident.model),
            granted=resident.cache_allowed if loaded is not None else 0,
            context=loaded.capabilities.context_length if loaded is not None else resident.plan.context,
            slots=resident.demand.slots or self._settings.current.engine.max_running,
        )

    def share_out(self) -> None:
        """Grant each model's cache what was planned or is in use, and a share of what is free."""
        if not (claims := self._residents.claims()):  # an idle daemon does not ask the system twice a second
            return
        planned = {resident.id: resident.cache_needed for resident in self._residents if resident.plan is not None}
        for identity, granted in grants(self._host.room(), claims, planned).items():
            resident = self._residents.get(identity)
            if resident is not None:
                granted = reduced(granted, planned[identity], resident.ran_out)
            if resident is None or abs(granted - resident.cache_limit) <= GRANT_STEP * resident.cache_limit:
                continue
            resident.cache_limit = granted
            if resident.state == "ready" and resident.worker is not None:
                resident.worker.grant(granted)
