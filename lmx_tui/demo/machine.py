"""DemoMachine: the models, requests and pulls of the demonstration at one moment, and their course over time.

It performs no I/O. Its owner passes the time to `advance` and draws `snapshot`.
"""

import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.protocol import PROTOCOL
from lmx_daemon.contract.admin.snapshot import (
    SERIES_SECONDS,
    Health,
    HostMemory,
    LogLine,
    RequestRow,
    Series,
    Snapshot,
    Status,
)
from lmx_daemon.contract.errors import ModelNotFoundError, OutOfMemoryError
from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.contract.units import size
from lmx_daemon.contract.version import VERSION
from lmx_daemon.contract.worker.messages import Capabilities, MemoryUse
from lmx_tui.demo.catalog import CAP, GB, MODELS, OFFERS, QWEN_LARGE, QWEN_SMALL, model_of, plan_of
from lmx_tui.demo.pulls import DemoPulls
from lmx_tui.demo.requests import VISITORS, ScriptedRequest, decode_rate

LOAD_RATE = 2.4 * GB
"""Bytes of weights per second of a load."""
DAEMON_BYTES = GB // 10
KEPT_SECONDS = 10.0
"""Time during which the monitor lists a request that has ended."""
SAMPLES = ("memory", "decode", "prefill", "running", "cpu")


@dataclass
class ModelInMemory:
    """A model that is loaded or loading."""

    id: str
    model: Model
    begun: float
    used_at: float

    @property
    def ready_at(self) -> float:
        return self.begun + 0.6 + self.model.size / LOAD_RATE


@dataclass
class DemoMachine:
    """The scripted machine. `now` is the time of its state in wall-clock seconds."""

    now: float
    started_at: float = 0.0
    models: dict[str, Model] = field(default_factory=lambda: {model.id: model for model in MODELS})
    loaded: dict[str, ModelInMemory] = field(default_factory=dict)
    requests: list[ScriptedRequest] = field(default_factory=list)
    records: deque[RequestRecord] = field(default_factory=lambda: deque(maxlen=500))
    log: deque[LogLine] = field(default_factory=lambda: deque(maxlen=500))
    pulls: DemoPulls = field(default_factory=DemoPulls)

    def __post_init__(self) -> None:
        """Run the time before the start, so that graphs and lists are filled."""
        start, self._ids = self.now, itertools.count(1)
        self._samples: dict[str, deque[Any]] = {name: deque(maxlen=SERIES_SECONDS) for name in SAMPLES}
        self.started_at = self.now = start - SERIES_SECONDS
        self._due = [(self.started_at + visitor.first, visitor) for visitor in VISITORS]
        self.note("daemon", f"lmx {VERSION} runs a demonstration: no model computes, and nothing leaves this program")
        for model in (QWEN_SMALL, QWEN_LARGE):
            self.load(model)
        self.advance(start)
        self.pulls.add(OFFERS[2], self.now, done=0.38)

    # ---- time ----

    def advance(self, now: float) -> None:
        """Move the machine to `now` in steps of at most a second."""
        while self.now < now:
            self.now = min(now, math.floor(self.now) + 1.0)
            self._send_due()
            self._end_requests()
            for offer in self.pulls.advance(self.now):
                self.models[offer.id] = msgspec.structs.replace(model_of(offer), verified_at=self.now)
                self.note("library", f"{offer.id} is complete and verified")
            if self.now == math.floor(self.now):
                self._sample()

    def _send_due(self) -> None:
        """Begin the requests of the other clients that are due."""
        ready = [loaded.model.id for loaded in self.loaded.values() if loaded.ready_at <= self.now]
        for place, (due, visitor) in enumerate(self._due):
            if due > self.now:
                continue
            self._due[place] = (due + visitor.every, visitor)
            if ready:
                model = ready[place % len(ready)]
                self.begin(
                    model, visitor.client, visitor.route, visitor.prompt, visitor.cached, visitor.tokens, visitor.miss
                )

    def _end_requests(self) -> None:
        for request in self.requests:
            if request.ends_at <= self.now and all(record.id != request.id for record in self.records):
                record = request.record()
                self.records.append(record)
                words = f"{record.prompt_tokens:,} + {record.completion_tokens:,} tokens, {request.rate:.1f} tok/s"
                self.note("http", f"POST {request.route} {record.outcome}: {words}", request.id)
        self.requests = [one for one in self.requests if one.ends_at > self.now - KEPT_SECONDS]

    def _sample(self) -> None:
        running = [request.state(self.now) for request in self.requests]
        wave = 1 + 0.04 * math.sin(self.now / 3)
        values = {
            "memory": DAEMON_BYTES + sum(self._held(one) for one in self.loaded.values()),
            "decode": sum(one.rate * wave for one in self.requests if one.state(self.now) == "decode"),
            "prefill": 2400.0 * wave * running.count("prefill"),
            "running": running.count("decode") + running.count("prefill"),
            "cpu": round(9 + 14 * running.count("decode") + 3 * math.sin(self.now / 5), 1),
        }
        for name, value in values.items():
            self._samples[name].append(value)

    # ---- commands ----

    def note(self, source: str, message: str, request: str | None = None) -> None:
        """Write a line to the log."""
        self.log.append(LogLine(at=self.now, level="info", source=source, message=message, request=request))

    def model(self, name: str) -> Model:
        """Return a model on disk. Raise ModelNotFoundError."""
        if name not in self.models:
            raise ModelNotFoundError(f"{name} is not on this machine", hint="the demonstration has a few models only")
        return self.models[name]

    def load(self, name: str) -> ModelInMemory:
        """Begin the load of a model that is not in memory. Raise OutOfMemoryError."""
        model = self.model(name)
        if name in self.loaded:
            return self.loaded[name]
        needed, free = plan_of(model.size).bytes, CAP - self.claimed
        if needed > free:
            raise OutOfMemoryError(
                f"{name} does not fit into memory: it needs {size(needed)}, and {size(free)} are free",
                hint="unload another model first",
            )
        self.note("residency", f"loading {name}, plan {size(needed)}")
        self.loaded[name] = ModelInMemory(f"i{next(self._ids)}", model, self.now, self.now)
        return self.loaded[name]

    def unload(self, identity: str) -> None:
        """Unload an instance by its id, or by the id of its model, and cancel its requests."""
        for name, loaded in list(self.loaded.items()):
            if identity in (loaded.id, name):
                for request in self.requests:
                    if request.model == name:
                        request.cancel(self.now)
                del self.loaded[name]
                self.note("residency", f"unloaded {name}")

    def begin(
        self, model: str, client: str, route: str, prompt: int, cached: int, tokens: int, miss: str = ""
    ) -> ScriptedRequest:
        """Begin a request to a model in memory."""
        loaded = self.loaded[model]
        loaded.used_at = self.now
        rate = decode_rate(loaded.model.size)
        identity = f"demo-r{next(self._ids)}"
        request = ScriptedRequest(identity, model, client, route, self.now, prompt, cached, tokens, rate, miss)
        self.requests.append(request)
        return request

    def cancel(self, identity: str) -> None:
        for request in self.requests:
            if request.id == identity:
                request.cancel(self.now)

    # ---- state ----

    @property
    def claimed(self) -> int:
        return sum(plan_of(loaded.model.size).bytes for loaded in self.loaded.values())

    def _progress(self, loaded: ModelInMemory) -> float:
        return min(1.0, (self.now - loaded.begun) / (loaded.ready_at - loaded.begun))

    def _held(self, loaded: ModelInMemory) -> int:
        weights = int(loaded.model.size * self._progress(loaded))
        return weights + self._keys_and_values(loaded) + self._prefixes(loaded) + GB // 5

    def _keys_and_values(self, loaded: ModelInMemory) -> int:
        mine = (one for one in self.requests if one.model == loaded.model.id and one.ends_at > self.now)
        return sum((one.prompt + one.done(self.now)) * (40_000 + loaded.model.size // 120_000) for one in mine)

    def _prefixes(self, loaded: ModelInMemory) -> int:
        """Return the bytes of kept prefixes, which grow with the age of the model up to a limit."""
        age = max(0.0, self.now - loaded.ready_at)
        return int(min(1.0, age / 200.0) * (GB // 3 + loaded.model.size // 16))

    def instance(self, loaded: ModelInMemory) -> Instance:
        """Return a model in memory as the daemon reports it."""
        model, progress = loaded.model, self._progress(loaded)
        held, ready = self._held(loaded), progress >= 1.0
        states = [one.state(self.now) for one in self.requests if one.model == model.id]
        rate = decode_rate(model.size)
        memory = MemoryUse(
            active=held - GB // 5, peak=held, weights=int(model.size * progress), prefix_cache=self._prefixes(loaded),
            resident=held,
        )  # fmt: skip
        return Instance(
            id=loaded.id, model=model.id, state="ready" if ready else "loading", 
            progress=None if ready else progress, stage="" if ready else "reading weights",
            capabilities=Capabilities(
                context_length=model.context_length or 0, tools=model.tools, thinking=model.thinking,
                vision=model.vision,
            ),
            memory=memory, held=held, backend="scripted", loaded_at=loaded.ready_at if ready else None,
            load_seconds=loaded.ready_at - loaded.begun if ready else None, used_at=loaded.used_at,
            running=states.count("decode") + states.count("prefill"), waiting=states.count("queued"),
            decode_rate=rate * states.count("decode"), prefill_rate=2400.0 * states.count("prefill"),
            plan=plan_of(model.size),
        )  # fmt: skip

    def snapshot(self, chats: int = 0) -> Snapshot:
        """Return the state as the daemon would send it. `chats` is the revision of the list of chats."""
        workers = sum(self._held(loaded) for loaded in self.loaded.values())
        rows: tuple[RequestRow, ...] = tuple(request.row(self.now) for request in self.requests)
        used = {one.model: one.at for one in self.records}
        return Snapshot(
            status=self.status(),
            memory=HostMemory(
                total=128 * GB, available=128 * GB - workers - 9 * GB, cap=CAP, daemon=DAEMON_BYTES, workers=workers,
                models=workers, claimed=self.claimed, source="physical",
            ),
            models=tuple(msgspec.structs.replace(one, used_at=used.get(one.id)) for one in self.models.values()),
            instances=tuple(self.instance(loaded) for loaded in self.loaded.values()),
            requests=rows,
            downloads=self.pulls.rows(self.now),
            series=Series(**{name: tuple(samples) for name, samples in self._samples.items()}),
            taken_at=self.now,
            chats=chats,
        )  # fmt: skip

    def status(self) -> Status:
        return Status(
            version=VERSION, protocol=PROTOCOL, pid=0, started_at=self.started_at, uptime=self.now - self.started_at,
            address="http://127.0.0.1:1234", home="demonstration", health=Health(ok=True), backend="scripted",
            versions={},
        )  # fmt: skip
