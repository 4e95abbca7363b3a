"""Memory of the machine and of its models: the need of a load, and the use, the limit and the grant of each model.

This module measures and computes. loads.py and supervision.py act on the results.
"""

import sys
from collections.abc import Mapping
from typing import Protocol

from lmx_daemon.contract.models import MemoryPlan, Model
from lmx_daemon.contract.worker.messages import EngineKind, Hello, Loaded
from lmx_daemon.memory.budget import MemoryBudget, ProcessUse
from lmx_daemon.memory.need import Demand, Device, Measured, process_bytes
from lmx_daemon.memory.oom_kills import OomKills
from lmx_daemon.residency.decisions.loading.placement import Decision, excess, grants, place
from lmx_daemon.residency.decisions.loading.refusal import smaller_demand
from lmx_daemon.residency.decisions.plan import reduced
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.decisions.residents import Residents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.workers.programs import EngineProgram
from lmx_daemon.settings.source import SettingsSource

GRANT_STEP = 0.05
"""Relative change of a grant above which it is sent again."""


class Machine(Protocol):
    """The memory of the host."""

    device_memory: int | None
    """Maximum number of bytes that the GPU recommends to use; None without a GPU."""
    oom_kills: OomKills
    """OOM kills of the machine's processes."""

    def room(self) -> MemoryBudget:
        """Return the memory that models share."""
        ...

    def use(self, pid: int) -> ProcessUse:
        """Return the memory that the system charges to a process."""
        ...


class Accounts:
    """The memory of all residents: it writes their plans, samples and limits."""

    def __init__(
        self,
        residents: Residents,
        settings: SettingsSource,
        host: Machine,
        measurements: Measurements,
        programs: Mapping[EngineKind, EngineProgram],
    ) -> None:
        self._residents = residents
        self._settings = settings
        self._host = host
        self._measurements = measurements
        self._programs = programs
        self._greetings: dict[EngineKind, Hello] = {}

    @property
    def versions(self) -> dict[str, str]:
        """The versions of all engines' packages, as their last workers reported them."""
        return {name: version for hello in self._greetings.values() for name, version in hello.versions.items()}

    @property
    def backend(self) -> str:
        """The backends of all engines, as their last workers reported them; empty before the first."""
        return "; ".join(dict.fromkeys(hello.backend for hello in self._greetings.values()))

    def has_greeted(self, kind: EngineKind) -> bool:
        """Return whether a worker of an engine has reported its device."""
        return kind in self._greetings

    def backend_of(self, kind: EngineKind) -> str:
        """Return the backend of an engine in words, as its last worker reported it; empty before the first."""
        return self._greetings[kind].backend if kind in self._greetings else ""

    def device_of(self, kind: EngineKind) -> Device:
        """Return the device that models of a kind run on; a guess by platform before the first worker."""
        backend = self.backend_of(kind)
        on_cpu = backend.startswith("cpu") if backend else sys.platform != "darwin"
        return Device(cpu=on_cpu, prefill_step=self._settings.current.engine.prefill_step)

    def greet(self, kind: EngineKind, hello: Hello) -> None:
        """Record the device and the versions that a worker has reported."""
        self._greetings[kind] = hello
        self._host.device_memory = max(hello.device_memory for hello in self._greetings.values()) or None

    def room(self) -> MemoryBudget:
        """Return the memory that models share."""
        return self._host.room()

    def measured(self, model: Model) -> Measured | None:
        """Return the measurements of earlier loads of the model on this backend; None before the first."""
        return self._measurements.of(model, self.backend_of(model.kind), self.versions)

    def plan(self, resident: Resident) -> None:
        """Plan the memory of a resident from its files and from measurements of earlier loads."""
        resident.plan = self.plan_of(resident, resident.demand)

    def plan_of(self, resident: Resident, demand: Demand) -> MemoryPlan:
        """Return the memory plan of a resident for a demand."""
        assert resident.shape is not None
        model = resident.model
        planned = self._programs[model.kind].plan
        return planned(resident.shape, demand, self.device_of(model.kind), self.measured(model))

    def smaller(self, resident: Resident, free: int) -> Demand | None:
        """Return a demand with which a resident would fit into `free` bytes, if there is one."""
        assert resident.plan is not None
        return smaller_demand(resident.plan, free, lambda demand: self.plan_of(resident, demand).bytes)

    def decide(self, resident: Resident) -> Decision:
        """Plan the memory of a resident. Return whether it fits now, must wait, or is refused."""
        self.plan(resident)
        assert resident.plan is not None
        return place(resident.plan.bytes, self._host.room(), self._residents.claims(without=resident))

    def placing(self, need: int) -> Decision:
        """Return whether a model that needs `need` bytes would fit now, would have to wait, or would be refused."""
        return place(need, self._host.room(), self._residents.claims())

    def learn(self, resident: Resident, loaded: Loaded, now: float) -> bool:
        """Record the measurements of a load, and correct its plan. Return whether the measurements have changed."""
        memory = loaded.memory
        self.observe(resident, now)
        counted = memory.active + memory.cache
        process = process_bytes(max(resident.held, counted), counted, self.device_of(resident.model.kind))
        measured = Measured(weights=memory.weights, process=process, cache=loaded.cache)
        changed = self._measurements.note(resident.model, self.backend_of(resident.model.kind), self.versions, measured)
        self.plan(resident)
        return changed

    def excess(self) -> int:
        """Return the number of bytes by which the claims of models exceed the memory that they share."""
        return excess(self._host.room(), self._residents.claims())

    def sample_kills(self) -> None:
        """Sample the OOM kills of the kernel if a resident has a process."""
        if any(resident.process is not None for resident in self._residents):
            self._host.oom_kills.sample()

    def observe(self, resident: Resident, now: float) -> None:
        """Sample the memory of a resident's process."""
        if resident.process is not None and resident.process.alive:
            resident.observe(self._host.use(resident.process.pid), self.most(resident), now)

    def most(self, resident: Resident) -> int | None:
        """Return the maximum number of bytes that the resident's process may hold; None before it is planned."""
        if resident.plan is None or resident.shape is None:
            return None
        loaded, model = resident.loaded, resident.model
        return self._programs[model.kind].most(
            resident.shape,
            resident.plan,
            self.device_of(model.kind),
            self.measured(model),
            granted=resident.cache_allowed if loaded is not None else 0,
            context=loaded.capabilities.context_length if loaded is not None else resident.plan.context,
            slots=resident.demand.slots or self._settings.current.engine.max_running,
        )

    def share_out(self) -> list[tuple[Resident, int]]:
        """Set the limit of each model's cache: the planned or used bytes, and a share of the free memory.

        Return the residents whose limit has changed by more than GRANT_STEP, with the new limit. A resident that is
        still loading keeps the limit of its load command.
        """
        if not (claims := self._residents.claims()):  # so that an idle daemon makes no system calls
            return []
        planned = {resident.id: resident.cache_needed for resident in self._residents if resident.plan is not None}
        changed = []
        for identity, granted in grants(self._host.room(), claims, planned).items():
            resident = self._residents.get(identity)
            if resident is None or resident.phase == "loading":  # the limit in its load command holds until it is ready
                continue
            granted = reduced(granted, planned[identity], resident.out_of_memory)
            if abs(granted - resident.cache_limit) > GRANT_STEP * resident.cache_limit:
                resident.cache_limit = granted
                changed.append((resident, granted))
        return changed
