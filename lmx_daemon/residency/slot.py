"""One model in memory, or on its way there or out: what the pool knows of it."""

import asyncio
import time
import uuid
from collections import deque

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frames import Heartbeat, Loaded
from lmx_daemon.contract.types import Instance, InstanceState, Model
from lmx_daemon.residency.plan import expires_at
from lmx_daemon.residency.ticket import Ticket
from lmx_daemon.residency.worker import Worker

RATE_SECONDS = 2.0
"""Rates are means over so long."""


class Slot:
    """Owned by the pool. `ready` is done when the model is loaded, or holds what made the load fail."""

    def __init__(self, model: Model, context_length: int | None, ttl: float | None) -> None:
        self.id = f"{model.id}:{uuid.uuid4().hex[:6]}"
        self.model = model
        self.context_length = context_length
        self.ttl = ttl
        self.state: InstanceState = "starting"
        self.stage = ""
        self.progress: float | None = None
        self.worker: Worker | None = None
        self.loaded: Loaded | None = None
        self.error: ErrorBody | None = None
        self.crashes = 0
        self.ready: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting: dict[str, Ticket] = {}
        """Tickets that wait for the load."""
        self.used = time.monotonic()
        self._used_at: float | None = None
        self._loaded_at: float | None = None
        self._beats: deque[tuple[float, Heartbeat]] = deque(maxlen=16)

    @property
    def in_use(self) -> bool:
        return bool(self.waiting or (self.worker and self.worker.tickets))

    def touch(self) -> None:
        self.used, self._used_at = time.monotonic(), time.time()

    def set_ready(self, loaded: Loaded, worker: Worker) -> None:
        self.state, self.stage, self.progress, self.loaded = "ready", "", None, loaded
        self._loaded_at = time.time()
        self.touch()
        self.ready.set_result(worker)

    def expires(self) -> float | None:
        """Monotonic."""
        return expires_at(self.used, self.ttl, self.in_use or self.state != "ready")

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
            expires_at=time.time() + expires - time.monotonic() if expires is not None else None,
            running=worker.heartbeat.running if worker else 0,
            waiting=(worker.heartbeat.waiting if worker else 0) + len(self.waiting),
            decode_rate=decode,
            prefill_rate=prefill,
            restarts=self.crashes,
            error=self.error,
        )
