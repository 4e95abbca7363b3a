"""One model in memory, or on its way there or out: what is known of it, and all of them together."""

import asyncio
import math
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from lmx_daemon.contract.errors import ErrorBody, LmxError
from lmx_daemon.contract.models import Instance, InstanceState, MemoryPlan, Model
from lmx_daemon.contract.worker.messages import Heartbeat, Loaded, MemoryUse
from lmx_daemon.memory.budget import ProcessUse
from lmx_daemon.memory.need import Demand
from lmx_daemon.memory.shape import ModelShape
from lmx_daemon.residency.active_request import ActiveRequest
from lmx_daemon.residency.placement import Claim
from lmx_daemon.residency.plan import Beat, Load, Purpose, expires_at
from lmx_daemon.residency.worker import Worker

AFTER_WEIGHTS = ("tokenizer", "warming up")
"""Stages of a load in which all weights are in memory."""
UNIFIED = "metal"
"""The beginning of the backend's name where GPU and processor share their memory."""
RATE_SECONDS = 2.0
"""Rates are means over so long."""


class Resident:
    """Owned by the pool. `ready` is done when the model is loaded, or holds what made the load fail."""

    def __init__(
        self, model: Model, demand: Demand, ttl: float | None, pinned: bool = False, purpose: Purpose = "load"
    ) -> None:
        self.id = f"{model.id}:{uuid.uuid4().hex[:6]}"
        self.model = model
        self.demand = demand
        self.ttl = ttl
        self.pinned = pinned
        self.purpose: Purpose = purpose
        self.evicts = False
        """Other models were unloaded for its load."""
        self.trusted = False
        """Code in its repository may run."""
        self.shape: ModelShape | None = None
        self.plan: MemoryPlan | None = None
        self.cache_limit = 0
        """Bytes that were granted for its keys and values."""
        self.state: InstanceState = "starting"
        self.stage = ""
        self.progress: float | None = None
        self.worker: Worker | None = None
        self.loaded: Loaded | None = None
        self.error: ErrorBody | None = None
        self.crashes = 0
        self.ran_out = 0
        """How often the model ran out of memory of late: it gets less of what is free, and smaller steps."""
        self.ready: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self.changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done, and another one, when `stage` or `progress` has changed."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting: dict[str, ActiveRequest] = {}
        """Requests that wait for the load."""
        self.footprint = 0
        """Bytes that the system counted for its process at the last `observe`."""
        self.samples_above = 0
        """Samples in a row in which the footprint was above what it may hold."""
        self.cache_allowed = 0
        """The largest `cache_limit` since it was last idle: what was granted may be held until the requests end."""
        self._read = 0
        self._read_at = -math.inf
        self.unneeded_since = time.monotonic()
        """When the last waiting request was dismissed."""
        self.used = time.monotonic()
        self._used_at: float | None = None
        self._loaded_at: float | None = None
        self._beats: deque[tuple[float, Heartbeat]] = deque(maxlen=16)

    @property
    def in_use(self) -> bool:
        return bool(self.waiting or (self.worker and self.worker.requests))

    @property
    def load(self) -> Load:
        """State of its load, as of now."""
        read = self.progress or 0.0 if self.stage == "weights" else 0.0
        return Load(
            purpose=self.purpose,
            waiting=len(self.waiting),
            begun=self.state == "loading",
            evicts=self.evicts,
            progress=1.0 if self.stage in AFTER_WEIGHTS else read,
            unneeded_for=time.monotonic() - self.unneeded_since,
        )

    def dismiss(self, active: ActiveRequest) -> None:
        """Remove a request from those that wait for the load."""
        if self.waiting.pop(active.id, None) is not None and not self.waiting:
            self.unneeded_since = time.monotonic()

    def touch(self) -> None:
        self.used, self._used_at = time.monotonic(), time.time()

    def set_progress(self, stage: str, progress: float | None) -> None:
        self.stage, self.progress = stage, progress
        changed, self.changed = self.changed, asyncio.get_running_loop().create_future()
        changed.set_result(None)

    def set_ready(self, loaded: Loaded, worker: Worker) -> None:
        self.state, self.stage, self.progress, self.loaded = "ready", "", None, loaded
        self._loaded_at = time.time()
        self.touch()
        self.ready.set_result(worker)

    def fail(self, error: LmxError) -> None:
        """Whoever waits for the load gets `error`; too late where it is loaded."""
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # nobody waiting is no fault

    @property
    def beat(self) -> Beat:
        """The worker's progress. While it loads, bytes that its process reads are progress, also during its imports."""
        assert self.worker is not None
        beat = self.worker.beat()
        if self.loaded is not None:
            return beat
        heard_at = beat.heard_at if self.worker.hello is not None else max(beat.heard_at, self._read_at)
        return replace(beat, heard_at=heard_at, progressed_at=max(beat.progressed_at, self._read_at))

    @property
    def unified(self) -> bool:
        """Whether it runs on a GPU that shares the processor's memory."""
        hello = self.worker.hello if self.worker is not None else None
        return hello is not None and hello.device_memory > 0 and hello.backend.startswith(UNIFIED)

    @property
    def own_memory(self) -> bool:
        """Whether the model is in a GPU's own memory, which the system does not count for the process."""
        hello = self.worker.hello if self.worker is not None else None
        return hello is not None and hello.device_memory > 0 and not self.unified

    @property
    def held(self) -> int:
        """Bytes that its process holds: the larger of MLX's count and the system's; on a GPU with memory of its own
        MLX's count. On a Mac the system's can be twice as large (ml-explore/mlx#3896)."""
        if self.worker is None:
            return 0
        memory = self.worker.memory
        counted = memory.active + memory.cache
        return counted if self.own_memory else max(counted, self.footprint or memory.resident)

    def observe(self, use: ProcessUse, most: int | None) -> None:
        """Take a sample of its process. `most` is what it may hold, None if that is not known yet."""
        if use.read > self._read:
            self._read, self._read_at = use.read, time.monotonic()
        self.footprint = use.memory
        self.samples_above = self.samples_above + 1 if most is not None and use.memory > most else 0
        self.cache_allowed = max(self.cache_limit, self.cache_allowed if self.in_use else 0)

    @property
    def cache_needed(self) -> int:
        """Bytes for keys and values that were planned, or that requests hold by now; stored prefixes are left out."""
        assert self.plan is not None
        memory = self.worker.memory if self.worker is not None else MemoryUse()
        return max(self.plan.cache.bytes, memory.active - memory.prefix_cache - self.plan.weights.bytes)

    def claim(self) -> Claim:
        """What the decisions about memory see of it."""
        planned = self.plan.bytes if self.plan is not None else 0
        droppable = 0
        if self.worker is not None:
            droppable = min(self.held, self.worker.memory.prefix_cache + self.worker.memory.cache)
        held = self.held - droppable
        return Claim(
            self.id,
            max(planned, held),
            held=held,
            droppable=droppable,
            idle=self.state == "ready" and not self.in_use,
            pinned=self.pinned and self.state != "leaving",
            used_at=self.used,
        )

    def expires(self) -> float | None:
        """Monotonic."""
        return expires_at(self.used, self.ttl, self.in_use or self.pinned or self.state != "ready")

    def sample(self) -> None:
        """Called about once a second: remembers the worker's totals, so that rates can be told."""
        if self.worker is not None:
            now = time.monotonic()
            self._beats.append((now, self.worker.heartbeat))
            while len(self._beats) > 2 and now - self._beats[0][0] > RATE_SECONDS:
                self._beats.popleft()

    def rates(self) -> tuple[float, float]:
        """Decoded and prefilled tokens a second, of late."""
        if len(self._beats) < 2:
            return 0.0, 0.0
        (then, old), (now, new) = self._beats[0], self._beats[-1]
        seconds = max(1e-6, now - then)
        return (
            max(0, new.decode_tokens - old.decode_tokens) / seconds,
            max(0, new.prefill_tokens - old.prefill_tokens) / seconds,
        )

    def instance(self) -> Instance:
        worker, loaded, expires = self.worker, self.loaded, self.expires()
        decode, prefill = self.rates()
        return Instance(
            id=self.id,
            model=self.model.id,
            state=self.state,
            pid=worker.pid if worker else None,
            progress=self.progress,
            stage=self.stage,
            capabilities=loaded.capabilities if loaded else None,
            **({"memory": worker.memory} if worker else {}),
            backend=worker.hello.backend if worker and worker.hello else "",
            note=loaded.note if loaded else "",
            loaded_at=self._loaded_at,
            load_seconds=loaded.seconds if loaded else None,
            used_at=self._used_at,
            ttl=None if self.ttl is not None and self.ttl < 0 else self.ttl,
            expires_at=time.time() + expires - time.monotonic() if expires is not None else None,
            running=worker.heartbeat.running if worker else 0,
            waiting=(unanswered(worker.heartbeat, len(worker.requests)) if worker else 0) + len(self.waiting),
            decode_rate=decode,
            prefill_rate=prefill,
            restarts=self.crashes,
            error=self.error,
            pinned=self.pinned,
            plan=self.plan,
            held=self.held,
            cache_limit=self.cache_limit,
        )


def unanswered(heartbeat: Heartbeat, requests: int) -> int:
    """Return the number of requests that wait in a worker which holds `requests`.

    A worker that hangs sends no heartbeat, so requests given to it after the last one are counted here.
    """
    return max(heartbeat.waiting, requests - heartbeat.running)


class Residents:
    """All of them, by id. The pool owns it; loading and supervision act on it."""

    def __init__(self) -> None:
        self._residents: dict[str, Resident] = {}

    def __iter__(self) -> Iterator[Resident]:
        return iter(list(self._residents.values()))

    def get(self, identity: str) -> Resident | None:
        return self._residents.get(identity)

    def add(self, resident: Resident) -> None:
        self._residents[resident.id] = resident

    def forget(self, resident: Resident) -> None:
        self._residents.pop(resident.id, None)
        if not resident.gone.done():
            resident.gone.set_result(None)

    def busy(self) -> bool:
        """Whether anybody is being answered, or waits for it."""
        return any(resident.in_use for resident in self)

    def serving(self, model: Model) -> Resident | None:
        """The one that serves `model`, now or soon."""
        return next((s for s in self if s.model.id == model.id and s.state not in ("leaving", "failed")), None)

    def claims(self, without: Resident | None = None) -> list[Claim]:
        """Of those that take memory, or are about to; `without` all of its model."""
        taking = ("loading", "ready", "leaving")
        left_out = without.model.id if without is not None else None
        return [resident.claim() for resident in self if resident.model.id != left_out and resident.state in taking]
