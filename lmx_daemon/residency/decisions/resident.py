"""A model that is loading, loaded or leaving: its state, its memory, and its row for the monitor.

Only the scheduler and its parts change a resident. `residents.py` has the collection.
"""

import math
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.models import Instance, InstanceState, MemoryPlan, Model
from lmx_daemon.contract.worker.messages import Heartbeat, Loaded, MemoryUse
from lmx_daemon.memory.budget import ProcessUse
from lmx_daemon.memory.need import Demand
from lmx_daemon.memory.shape import ModelShape
from lmx_daemon.residency.decisions.loading.placement import Claim
from lmx_daemon.residency.decisions.plan import Beat, LoadState, Purpose, expires_at
from lmx_daemon.residency.effects import Process
from lmx_daemon.residency.requests.active_request import ActiveRequest

ResidentPhase = Literal["delayed", "inspecting", "placing", "making room", "loading", "ready", "leaving", "gone"]
"""Step in the life of a resident, in order; a load that fails or is cancelled continues with "leaving"."""
STATES: dict[ResidentPhase, InstanceState] = {
    "delayed": "starting",
    "inspecting": "starting",
    "placing": "starting",
    "making room": "loading",
    "loading": "loading",
    "ready": "ready",
    "leaving": "leaving",
    "gone": "leaving",
}
"""Public state of a resident in each phase."""
AFTER_WEIGHTS = ("tokenizer", "warming up")
"""Stages of a load in which all weights are in memory."""
UNIFIED = "metal"
"""Beginning of the backend's name if GPU and processor share their memory."""
RATE_SECONDS = 2.0
"""Time over which rates are averaged."""


class Resident:
    """A model and the scheduler's decisions for it. All times are monotonic seconds."""

    def __init__(
        self,
        model: Model,
        demand: Demand,
        ttl: float | None,
        *,
        now: float,
        pinned: bool = False,
        purpose: Purpose = "load",
    ) -> None:  # long: its fields, each with its meaning
        """Begin the life of a resident. `ttl` is its time to live without use, None for no limit."""
        self.id = f"{model.id}:{uuid.uuid4().hex[:6]}"
        self.model = model
        self.demand = demand
        self.ttl = ttl
        self.pinned = pinned
        self.purpose: Purpose = purpose
        self.phase: ResidentPhase = "delayed"
        self.start_at = now
        """Time before which the load does not begin. It is later after each crash."""
        self.wait_until: float | None = None
        """Time until which the load waits for memory; None before its first placement."""
        self.evicted: tuple[Resident, ...] = ()
        """Residents that are unloaded for this load."""
        self.displaced: frozenset[str] = frozenset()
        self.returns, self.ready_at, self.load_seconds = 0, now, 0.0
        """The turns of models; see turns.py."""
        self.trusted = False
        """Whether code in the model's repository may run."""
        self.shape: ModelShape | None = None
        self.plan: MemoryPlan | None = None
        self.cache_limit = 0
        """Bytes that were granted for keys and values."""
        self.stage = ""
        """Step of the load, as text for users."""
        self.progress: float | None = None
        self.process: Process | None = None
        self.process_requested = False
        """Whether a process was requested; it arrives later."""
        self.process_dismissed = False
        """Whether the process was asked to exit, so that its end is not a crash."""
        self.loaded: Loaded | None = None
        self.failure: LmxError | None = None
        """Error that made the load fail."""
        self.crashes = 0
        self.out_of_memory = 0
        """Number of times that the model ran out of memory recently. Its grant and its prefill step shrink."""
        self.requests: Mapping[str, ActiveRequest] = {}
        """Live view of its requests; the registry owns them."""
        self.footprint = 0
        """Bytes that the system counted for its process at the last `observe`."""
        self.samples_above = 0
        """Samples in a row in which the footprint was above the limit."""
        self.cache_allowed = 0
        """Largest `cache_limit` since the model was last idle. A granted cache may be held until the requests end."""
        self.unneeded_since = now
        """Time when the last waiting request was dismissed."""
        self.used = now
        self._read = 0
        self._read_at = -math.inf
        self._used_at: float | None = None
        self._loaded_at: float | None = None
        self._beats: deque[tuple[float, Heartbeat]] = deque(maxlen=16)

    @property
    def state(self) -> InstanceState:
        """Public state."""
        return STATES[self.phase]

    @property
    def starting(self) -> bool:
        """Return whether its load is under way."""
        return self.state in ("starting", "loading")

    @property
    def finishing(self) -> bool:
        """Return whether it is loaded and leaves once its requests have ended."""
        return self.phase == "leaving" and self.loaded is not None and not self.process_dismissed and self.in_use

    @property
    def settled(self) -> bool:
        """Return whether its load has succeeded or failed."""
        return self.loaded is not None or self.failure is not None

    @property
    def in_use(self) -> bool:
        """Return whether a request waits for it or runs."""
        return any(active.under_way for active in self.requests.values())

    @property
    def waiting(self) -> list[ActiveRequest]:
        """Requests that wait for the load, oldest first."""
        return [active for active in self.requests.values() if active.waiting]

    def load_at(self, now: float) -> LoadState:
        """Return the state of its load."""
        read = self.progress or 0.0 if self.stage == "weights" else 0.0
        return LoadState(
            purpose=self.purpose,
            waiting=len(self.waiting),
            begun=self.state == "loading",
            evicts=bool(self.evicted),
            progress=1.0 if self.stage in AFTER_WEIGHTS else read,
            unneeded_for=now - self.unneeded_since,
        )

    def touch(self, now: float) -> None:
        """Note a use."""
        self.used, self._used_at = now, time.time()

    def set_loaded(self, loaded: Loaded, now: float) -> None:
        """Note the end of the load."""
        self.phase, self.stage, self.progress, self.loaded = "ready", "", None, loaded
        self.ready_at, self.load_seconds = now, loaded.seconds
        self._loaded_at = time.time()
        self.touch(now)

    @property
    def beat(self) -> Beat:
        """Progress of the worker. During a load, bytes that its process reads are progress, also in its imports."""
        assert self.process is not None
        beat = self.process.beat()
        if self.loaded is not None:
            return beat
        heard_at = beat.heard_at if self.process.hello is not None else max(beat.heard_at, self._read_at)
        return replace(beat, heard_at=heard_at, progressed_at=max(beat.progressed_at, self._read_at))

    @property
    def unified(self) -> bool:
        """Return whether it runs on a GPU that shares the processor's memory."""
        hello = self.process.hello if self.process is not None else None
        return hello is not None and hello.device_memory > 0 and hello.backend.startswith(UNIFIED)

    @property
    def own_memory(self) -> bool:
        """Return whether the model is in a GPU's own memory, which the system does not count for the process."""
        hello = self.process.hello if self.process is not None else None
        return hello is not None and hello.device_memory > 0 and not self.unified

    @property
    def held(self) -> int:
        """Bytes that its process holds: the larger of MLX's count and the system's.

        On a GPU with memory of its own it is MLX's count. On a Mac the system's count can be twice as large
        (ml-explore/mlx#3896).
        """
        if self.process is None:
            return 0
        memory = self.process.memory
        counted = memory.active + memory.cache
        return counted if self.own_memory else max(counted, self.footprint or memory.resident)

    @property
    def cache_needed(self) -> int:
        """Bytes for keys and values that were planned, or that requests hold by now; stored prefixes are left out."""
        assert self.plan is not None
        memory = self.process.memory if self.process is not None else MemoryUse()
        return max(self.plan.cache.bytes, memory.active - memory.prefix_cache - self.plan.weights.bytes)

    def observe(self, use: ProcessUse, most: int | None, now: float) -> None:
        """Note a sample of its process. `most` is what it may hold, None if that is not known yet."""
        if use.read > self._read:
            self._read, self._read_at = use.read, now
        self.footprint = use.memory
        self.samples_above = self.samples_above + 1 if most is not None and use.memory > most else 0
        self.cache_allowed = max(self.cache_limit, self.cache_allowed if self.in_use else 0)

    def sample(self, now: float) -> None:
        """Note the worker's totals, from which `rates` are computed."""
        if self.process is not None:
            self._beats.append((now, self.process.heartbeat))
            while len(self._beats) > 2 and now - self._beats[0][0] > RATE_SECONDS:
                self._beats.popleft()

    def rates(self) -> tuple[float, float]:
        """Return decoded and prefilled tokens a second, over the last RATE_SECONDS."""
        if len(self._beats) < 2:
            return 0.0, 0.0
        (then, old), (now, new) = self._beats[0], self._beats[-1]
        seconds = max(1e-6, now - then)
        return (
            max(0, new.decode_tokens - old.decode_tokens) / seconds,
            max(0, new.prefill_tokens - old.prefill_tokens) / seconds,
        )

    def claim(self) -> Claim:
        """Return its memory as the decisions about memory see it."""
        planned = self.plan.bytes if self.plan is not None else 0
        droppable = 0
        if self.process is not None:
            droppable = min(self.held, self.process.memory.prefix_cache + self.process.memory.cache)
        held = self.held - droppable
        return Claim(
            self.id,
            max(planned, held),
            held=held,
            droppable=droppable,
            idle=self.phase == "ready" and not self.in_use,
            pinned=self.pinned and self.state != "leaving",
            used_at=self.used,
        )

    def _at_worker(self) -> int:
        """Return the number of requests that its worker holds."""
        return sum(active.at_worker for active in self.requests.values())

    def expires(self) -> float | None:
        """Return the time at which it is to be unloaded; None if it is in use or has no limit."""
        return expires_at(self.used, self.ttl, self.in_use or self.pinned or self.phase != "ready")

    def instance(self, now: float) -> Instance:
        """Return its row for the monitor."""
        process, loaded, expires = self.process, self.loaded, self.expires()
        decode, prefill = self.rates()
        return Instance(
            id=self.id,
            model=self.model.id,
            state=self.state,
            pid=process.pid if process else None,
            progress=self.progress,
            stage=self.stage,
            capabilities=loaded.capabilities if loaded else None,
            **({"memory": process.memory} if process else {}),
            backend=process.hello.backend if process and process.hello else "",
            note=loaded.note if loaded else "",
            loaded_at=self._loaded_at,
            load_seconds=loaded.seconds if loaded else None,
            used_at=self._used_at,
            ttl=None if self.ttl is not None and self.ttl < 0 else self.ttl,
            expires_at=time.time() + expires - now if expires is not None else None,
            running=process.heartbeat.running if process else 0,
            waiting=len(self.waiting) + (unbegun(process.heartbeat, self._at_worker()) if process else 0),
            decode_rate=decode,
            prefill_rate=prefill,
            restarts=self.crashes,
            error=self.failure.body() if self.failure else None,
            pinned=self.pinned,
            plan=self.plan,
            held=self.held,
            cache_limit=self.cache_limit,
        )


def unbegun(heartbeat: Heartbeat, held: int) -> int:
    """Return the number of requests that wait in a worker which holds `held` requests.

    A worker that hangs sends no heartbeat, so requests that were sent to it after the last one are counted here.
    """
    return max(heartbeat.waiting, held - heartbeat.running)
