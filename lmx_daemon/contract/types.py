"""The state of the daemon: models, instances, requests, memory, and the Snapshot that combines them.

Sizes are bytes, times are seconds (wall-clock if the name ends in `_at`), rates are per second.
"""

from typing import Annotated, Literal

import msgspec

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frames import Basis, Capabilities, EngineKind, MemoryUse
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.pulls import Download

PROTOCOL = 2
"""Version of the admin protocol. A client and a daemon with different versions refuse each other."""
HUB_HEADER = "x-lmx-hub"
"""Header with HF_ENDPOINT of the caller, percent-encoded. It may differ from that of the daemon."""
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
    """Size of the weights' files in bytes."""
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
    """Files and config entries that would run code if that were allowed."""
    trusted: bool = False
    """Whether a person has allowed its code for this revision."""
    problem: str | None = None
    """Reason why it cannot be loaded, in one line; None if there is no known reason."""
    modified_at: float = 0.0
    used_at: float | None = None
    verified_at: float | None = None
    """Time of the last verification of all files against the Hub or the recorded manifest."""
    newer: str | None = None
    """Commit on the Hub if it differs from `revision`."""


class Figure(Frozen, frozen=True):
    """Number of bytes, and its origin."""

    bytes: int
    basis: Basis


class MemoryPlan(Frozen, frozen=True):
    """Planned memory of a model before its load."""

    weights: Figure
    cache: Figure
    """Size of keys, values and states of `slots` sequences of `context` tokens."""
    scratch: Figure
    """Size of temporary buffers of a step, and of the process without its model."""
    context: int
    slots: int = 1

    @property
    def bytes(self) -> int:
        """Total size."""
        return self.weights.bytes + self.cache.bytes + self.scratch.bytes


InstanceState = Literal["starting", "loading", "ready", "leaving", "failed"]


class Instance(Frozen, frozen=True):
    """Model that is in memory, being loaded or being unloaded."""

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
    """Seconds without use after which it is unloaded; None is never."""
    expires_at: float | None = None
    """Time of the unload by `ttl`; None while the model is in use."""
    running: int = 0
    waiting: int = 0
    decode_rate: float = 0.0
    """Current generated tokens per second over all streams."""
    prefill_rate: float = 0.0
    restarts: int = 0
    error: ErrorBody | None = None
    pinned: bool = False
    """Whether it is exempt from eviction."""
    plan: MemoryPlan | None = None
    """Memory plan of the load, corrected by the figures that the load measured."""
    held: int = 0
    """Memory of its process: the larger of MLX's and the system's count without mapped files; for a GPU with memory of
    its own, MLX's count."""
    cache_limit: int = 0
    """Current limit of its keys and values. Memory that other models do not need is distributed."""


IncidentKind = Literal["crashed", "out of memory", "hung", "load failed", "undone", "evicted", "restored", "expired"]


class Incident(Frozen, frozen=True):
    """Event in the life of a model that no user requested."""

    at: float
    kind: IncidentKind
    model: str
    message: str


class Verdict(Frozen, frozen=True):
    """Prediction of a load: whether the model fits now, and what would be unloaded for it."""

    model: str
    plan: MemoryPlan
    outcome: Literal["fits", "evicts", "waits", "refused"]
    cap: int
    free: int
    """Bytes that are free without any unload."""
    others: tuple[str, ...] = ()
    """Ids of the instances that would be unloaded or waited for."""
    error: ErrorBody | None = None
    """Error of a refusal."""


RequestState = Literal["queued", "loading", "prefill", "decode", "finished", "failed", "cancelled"]


class RequestRow(Frozen, frozen=True):
    """State of a request for the monitor; it never contains text of the request."""

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
    """Progress of loading or prefill, 0 to 1."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    first_difference: int | None = None
    miss: str = ""
    """Reason for a cache miss; see Started."""
    completion_tokens: int = 0
    max_tokens: int | None = None
    rate: float = 0.0
    first_token: float | None = None
    error: ErrorBody | None = None


class HostMemory(Frozen, frozen=True):
    """Memory of the machine in bytes, limits of control groups included."""

    total: int
    available: int
    cap: int
    """Maximum that lmx plans to use."""
    daemon: int
    """Memory of the daemon process."""
    workers: int
    """Memory of all workers, the spare included; see Instance.held."""
    models: int
    """Active memory of MLX over all models."""
    claimed: int = 0
    """Memory that loaded models hold or are entitled to; the rest of `cap` is free for other models."""
    source: str = ""
    """Origin of `total`: "physical", "cgroup" or "device"."""
    pressure: str = "normal"
    """Memory pressure as reported by the system: "normal", "warning" or "critical"."""


class Series(Frozen, frozen=True):
    """Samples, one per second, oldest first, at most SERIES_SECONDS; all lists have the same length."""

    memory: tuple[int, ...] = ()
    decode: tuple[float, ...] = ()
    prefill: tuple[float, ...] = ()
    running: tuple[int, ...] = ()


SERIES_SECONDS = 300


class Health(Frozen, frozen=True):
    """Health of the daemon and its workers."""

    ok: bool
    """False while a worker with work makes no progress, or while the daemon is shutting down."""
    reason: str | None = None


class Status(Frozen, frozen=True):
    """State of the daemon process."""

    version: str
    protocol: int
    pid: int
    started_at: float
    uptime: float
    address: str
    """URL of the public port: "http://127.0.0.1:1234"."""
    home: str
    health: Health
    other_addresses: tuple[str, ...] = ()
    """Further URLs of the public port, such as that of ::1."""
    versions: dict[str, str] = {}
    """Versions of mlx, mlx-lm and python in the last worker."""
    backend: str = ""
    """Device and library of the computation: "cpu, OpenBLAS"."""
    platform: str = ""
    draining: bool = False
    spare: str = "off"
    """"off", "starting", "warm", or the reason why there is none."""
    log_file: str = ""
    api_key: bool = False
    incidents: tuple[Incident, ...] = ()
    """Most recent incidents, oldest first."""


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
    """Line of the daemon's log."""

    at: float
    level: str
    source: str
    """"daemon", "http", "worker lmx/guide"."""
    message: str
    request: str | None = None


# ---- requests on the admin socket -----------------------------------------------------------------------------------


Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class LoadRequest(Frozen, frozen=True):
    """Request to load a model."""

    model: str
    context_length: Size | None = None
    ttl: float | None = None
    slots: Size | None = None
    """Number of sequences decoded together; memory for all of them at full length is reserved."""
    pin: bool | None = None
    """Whether the model is exempt from eviction; None does not change it."""


class UnloadRequest(Frozen, frozen=True):
    """Request to unload by instance id or model id; `force` does not wait for running requests."""

    id: str
    force: bool = False


class LoadUpdate(Frozen, frozen=True):
    """Line of the answer to LoadRequest. The state of the last one is "ready" or "failed"."""

    instance: Instance
