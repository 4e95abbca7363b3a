"""What the daemon tells of itself: models, instances, requests, memory, and the one Snapshot that holds them.

All frozen; bytes are bytes, times are seconds (wall-clock where a name ends in `_at`), rates are per second.
"""

from typing import Annotated, Literal

import msgspec

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frames import Basis, Capabilities, EngineKind, MemoryUse
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.pulls import Download

PROTOCOL = 2
"""The admin socket's; a client and a daemon with different ones refuse each other in one line."""
HUB_HEADER = "x-lmx-hub"
"""The Hub that the caller's HF_ENDPOINT names, percent-encoded: the daemon's own may be another."""
PROTOCOL_HEADER = "x-lmx-protocol"
REQUEST_ID_HEADER = "x-request-id"

GUIDE = "lmx/guide"


class Model(Frozen, frozen=True):
    """A model on disk."""

    id: str
    path: str
    source: Literal["built-in", "hub", "lmstudio", "imported", "folder"]
    kind: EngineKind = "text"
    """Kind of engine that runs the model."""
    revision: str | None = None
    size: int = 0
    """Bytes of its weights' files."""
    architecture: str | None = None
    quantization: str | None = None
    """"4-bit", "mxfp4", "bfloat16"."""
    parameters: int | None = None
    context_length: int | None = None
    chat: bool = False
    tools: bool = False
    tool_parser: str | None = None
    thinking: bool = False
    vision: bool = False
    embedding: bool = False
    license: str | None = None
    code: tuple[str, ...] = ()
    """What of it would run code if it were let: files, and switches in its configs."""
    trusted: bool = False
    """Its code was allowed by hand, for this revision."""
    problem: str | None = None
    """Why it cannot be loaded, in one line; None where nothing is known against it."""
    modified_at: float = 0.0
    used_at: float | None = None
    verified_at: float | None = None
    """When all its files were last proved to be what the Hub published, or what was recorded of them."""
    newer: str | None = None
    """Upstream's commit, where it is another one."""


class Figure(Frozen, frozen=True):
    """Bytes, and how they are known."""

    bytes: int
    basis: Basis


class MemoryPlan(Frozen, frozen=True):
    """What a model takes in memory, before it is loaded."""

    weights: Figure
    cache: Figure
    """Keys, values and states of `slots` sequences of `context` tokens."""
    scratch: Figure
    """What a step computes with, and the process itself."""
    context: int
    slots: int = 1

    @property
    def bytes(self) -> int:
        return self.weights.bytes + self.cache.bytes + self.scratch.bytes


InstanceState = Literal["starting", "loading", "ready", "leaving", "failed"]


class Instance(Frozen, frozen=True):
    """A model in memory, or on its way there or out."""

    id: str
    model: str
    state: InstanceState
    pid: int | None = None
    progress: float | None = None
    stage: str = ""
    capabilities: Capabilities | None = None
    memory: MemoryUse = MemoryUse()
    backend: str = ""
    note: str = ""
    loaded_at: float | None = None
    load_seconds: float | None = None
    used_at: float | None = None
    ttl: float | None = None
    """Seconds of idleness after which it is unloaded; None: never."""
    expires_at: float | None = None
    """None also while it is in use."""
    running: int = 0
    waiting: int = 0
    decode_rate: float = 0.0
    """Tokens a second over all its streams, now."""
    prefill_rate: float = 0.0
    restarts: int = 0
    error: ErrorBody | None = None
    pinned: bool = False
    """It is never unloaded to make room."""
    plan: MemoryPlan | None = None
    """What it was loaded with, corrected by what the load told."""
    held: int = 0
    """Bytes that its process holds: the larger of MLX's count and the system's, mapped files left out; for a GPU with
    memory of its own, MLX's count."""
    cache_limit: int = 0
    """Bytes that its keys and values may have now; what other models do not need is shared out."""


IncidentKind = Literal["crashed", "out of memory", "hung", "load failed", "undone", "evicted", "restored", "expired"]


class Incident(Frozen, frozen=True):
    """Something that happened to a model without being asked for."""

    at: float
    kind: IncidentKind
    model: str
    message: str


class Verdict(Frozen, frozen=True):
    """Whether a model may be loaded now, and at what price."""

    model: str
    plan: MemoryPlan
    outcome: Literal["fits", "evicts", "waits", "refused"]
    cap: int
    free: int
    """Bytes free now, with nothing unloaded."""
    others: tuple[str, ...] = ()
    """Instances that would be unloaded, or be waited for."""
    error: ErrorBody | None = None
    """Of a refusal, in words."""


RequestState = Literal["queued", "loading", "prefill", "decode", "finished", "failed", "cancelled"]


class RequestRow(Frozen, frozen=True):
    """A request as the monitor shows it; never its text."""

    id: str
    model: str
    state: RequestState
    instance: str = ""
    client: str = ""
    route: str = ""
    tenant: str = ""
    started_at: float = 0.0
    age: float = 0.0
    position: int | None = None
    progress: float | None = None
    """Of loading or prefill, 0..1."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    first_difference: int | None = None
    miss: str = ""
    """Why less was cached than could be expected, and where the prompt differs, as Started says."""
    completion_tokens: int = 0
    max_tokens: int | None = None
    rate: float = 0.0
    first_token: float | None = None
    error: ErrorBody | None = None


class HostMemory(Frozen, frozen=True):
    """The machine's memory, in bytes, cgroup limits included."""

    total: int
    available: int
    cap: int
    """What lmx plans to use at most."""
    daemon: int
    """Bytes that the daemon's own process holds."""
    workers: int
    """Bytes that all workers hold, the spare included; see Instance.held."""
    models: int
    """MLX's active memory over all models."""
    claimed: int = 0
    """What loaded models hold or were promised; `cap` less this is free for another."""
    source: str = ""
    """Where `total` comes from: "physical", "cgroup", "device"."""
    pressure: str = "normal"
    """The system's own word on how short memory is: "normal", "warning" or "critical"."""


class Series(Frozen, frozen=True):
    """One sample a second, oldest first, at most `SERIES_SECONDS` of them; all lists are equally long."""

    memory: tuple[int, ...] = ()
    decode: tuple[float, ...] = ()
    prefill: tuple[float, ...] = ()
    running: tuple[int, ...] = ()


SERIES_SECONDS = 300


class Health(Frozen, frozen=True):
    ok: bool
    """False while a worker with work makes no progress, or the daemon is shutting down."""
    reason: str | None = None


class Status(Frozen, frozen=True):
    """The daemon itself."""

    version: str
    protocol: int
    pid: int
    started_at: float
    uptime: float
    address: str
    """"http://127.0.0.1:1234"."""
    home: str
    health: Health
    other_addresses: tuple[str, ...] = ()
    """More URLs of the public port: ::1 beside 127.0.0.1."""
    versions: dict[str, str] = {}
    """mlx, mlx-lm, python, as the last worker said."""
    backend: str = ""
    """Where MLX computes: "cpu, OpenBLAS"."""
    platform: str = ""
    draining: bool = False
    spare: str = "off"
    """"off", "starting", "warm", or why there is none."""
    log_file: str = ""
    api_key: bool = False
    incidents: tuple[Incident, ...] = ()
    """The last ones, oldest first."""


class Revisions(Frozen, frozen=True):
    """Revision numbers of a snapshot's large arrays; see revisions.py."""

    models: int = 0
    downloads: int = 0


class Snapshot(Frozen, frozen=True):
    """Everything that a screen shows, at one moment."""

    status: Status
    memory: HostMemory
    models: tuple[Model, ...] = ()
    instances: tuple[Instance, ...] = ()
    requests: tuple[RequestRow, ...] = ()
    downloads: tuple[Download, ...] = ()
    series: Series = Series()
    taken_at: float = 0.0
    revisions: Revisions = Revisions()


class LogLine(Frozen, frozen=True):
    at: float
    level: str
    source: str
    """"daemon", "http", "worker lmx/guide"."""
    message: str
    request: str | None = None


# ---- what a client asks on the admin socket ------------------------------------------------------------------------


Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class LoadRequest(Frozen, frozen=True):
    model: str
    context_length: Size | None = None
    ttl: float | None = None
    slots: Size | None = None
    """Sequences decoded together; memory for all of them at full length is made sure of."""
    pin: bool | None = None
    """True: never unloaded to make room. None leaves it as it is."""


class UnloadRequest(Frozen, frozen=True):
    """By instance id or by model id; `force` does not wait for running requests."""

    id: str
    force: bool = False


class LoadUpdate(Frozen, frozen=True):
    """One line of the answer to LoadRequest: the instance as it changes; the last is "ready" or "failed"."""

    instance: Instance
