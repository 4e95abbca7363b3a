"""Models on disk, their memory plans, and the instances of them in memory.

Sizes are bytes, times are seconds (wall-clock if the name ends in `_at`), rates are per second.
"""

from typing import Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.worker.cache_shape import Basis
from lmx_daemon.contract.worker.messages import Capabilities, EngineKind, MemoryUse

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
    """Current throughput: generated tokens per second over all streams, idle time included."""
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


class Alternative(Frozen, frozen=True):
    """Change with which a refused load would fit: other sizes, or the unload of a pinned model."""

    context: int | None = None
    slots: int | None = None
    unload: str | None = None
    """Id of the pinned instance to unload; None for other sizes."""
    frees: int = 0
    """Bytes that the unload frees."""


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
    alternatives: tuple[Alternative, ...] = ()
    """Changes with which a refused load would fit; each is sufficient on its own."""
