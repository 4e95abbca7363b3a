"""The messages between the daemon and a worker: commands of the daemon, reports of the worker."""

from typing import Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.worker.cache_shape import CacheShape

WORKER_PROTOCOL = 1
LAST_WORDS = "lmx worker: "
"""Prefix of the line on a worker's stderr that gives the reason for its end."""
EngineKind = Literal["text"]
"""Kind of a model's computation. It selects the worker program, the load options, the requests and the events."""


class TextOptions(Frozen, frozen=True, tag="text", tag_field="kind"):
    """Settings of one worker for a text model, fixed for its life."""

    context_length: int | None = None
    """Context length in tokens; None is that of the model."""
    max_running: int = 32
    """Maximum number of sequences that are decoded together."""
    max_waiting: int = 256
    """Maximum number of requests that wait inside the worker; further ones fail with queue_full."""
    prefill_step: int = 512
    """Maximum number of prompt tokens processed between two decode steps."""
    prefix_cache_bytes: int | None = None
    """Maximum size of stored prefixes in memory; None is half of `cache_bytes`, within bounds."""
    cache_bytes: int = 0
    """Maximum size of keys and values, prefixes included; 0 is unlimited. A Grant changes it."""
    prefix_disk_bytes: int = 0
    """Maximum size of the prefixes of all models on disk; 0 stores none."""
    prefix_disk_path: str = ""
    sanitize_control_tokens: bool = True
    """Whether control tokens in user and tool messages are plain text to the model."""
    wired: str = "auto"
    """Wired memory on macOS: "auto" (models above half of the recommended working set), "off", or bytes."""
    template_seconds: float = 5.0
    template_memory_bytes: int = 512 * 1024 * 1024


LoadOptions = TextOptions
"""Union of the options of all engine kinds; the tag is the kind."""


class Load(Frozen, frozen=True, tag="load", tag_field="type"):
    """Command to load a model; the first command of a worker."""

    instance: str
    model: str
    path: str
    options: LoadOptions = TextOptions()
    trusted: bool = False
    """Whether code of the repository may run; a person has allowed it for this revision."""


class Submit(Frozen, frozen=True, tag="submit", tag_field="type"):
    """Command to process a request."""

    request: Request
    waited: float = 0.0
    """Seconds that the request spent in the daemon; timings count from its arrival there."""
    load_seconds: float = 0.0
    """Seconds of `waited` that the load of the model took."""


class Cancel(Frozen, frozen=True, tag="cancel", tag_field="type"):
    """Command to cancel a request. Idempotent; an unknown id is ignored."""

    id: str


class Grant(Frozen, frozen=True, tag="grant", tag_field="type"):
    """New limit of the memory for keys and values, prefixes included.

    If more is in use, stored prefixes are dropped, and no request begins until running ones have freed enough.
    """

    cache_bytes: int


class Leave(Frozen, frozen=True, tag="leave", tag_field="type"):
    """Command to stop all work, free memory and exit with code 0."""


ToWorker = Load | Submit | Cancel | Grant | Leave


class Hello(Frozen, frozen=True, tag="hello", tag_field="type"):
    """First frame of a worker: its imports are done, and it can load a model."""

    protocol: int
    engine: str
    pid: int
    versions: dict[str, str] = {}
    backend: str = ""
    """Device and library of the computation: "cpu, OpenBLAS" or "metal, Apple M3 Max"."""
    device_memory: int = 0
    """Recommended working set of the GPU in bytes; 0 on a CPU."""


class LoadProgress(Frozen, frozen=True, tag="load_progress", tag_field="type"):
    """Progress of a load."""

    stage: str
    """Current step: "checking", "weights" or "warming up"."""
    fraction: float | None = None


class Capabilities(Frozen, frozen=True):
    """Features of a loaded model."""

    context_length: int
    tools: bool = False
    tool_parser: str | None = None
    thinking: bool = False
    vision: bool = False
    chat: bool = True
    """Whether there is a chat template; without one only raw prompts work."""


class MemoryUse(Frozen, frozen=True):
    """Memory of a worker in bytes, as counted by its allocator and by the system."""

    active: int = 0
    """Live MLX arrays: weights, keys and values, scratch."""
    cache: int = 0
    """Freed buffers that MLX keeps for reuse."""
    peak: int = 0
    weights: int = 0
    prefix_cache: int = 0
    resident: int = 0
    """Resident set size of the worker process."""
    prefix_disk_silent: bool = False
    """Whether the disk of the prefix cache does not answer, so that prompts are computed without it."""


class Loaded(Frozen, frozen=True, tag="loaded", tag_field="type"):
    """End of a successful load."""

    capabilities: Capabilities
    memory: MemoryUse
    seconds: float
    dtype: str = ""
    note: str = ""
    """Remark for the user: "bfloat16 cast to float32 for the CPU"."""
    cache: CacheShape | None = None
    """Cache size measured on the model; None if it cannot be measured."""


class LoadFailed(Frozen, frozen=True, tag="load_failed", tag_field="type"):
    """End of a failed load."""

    error: ErrorBody


class Events(Frozen, frozen=True, tag="events", tag_field="type"):
    """All events of one engine step."""

    events: tuple[Event, ...]


class Heartbeat(Frozen, frozen=True, tag="heartbeat", tag_field="type"):
    """State of a worker, sent at least once a second by its socket thread.

    While `busy`, a worker whose `steps` does not grow hangs. The daemon applies the time limits.
    """

    steps: int
    """Number of finished decode steps and prefill chunks."""
    busy: bool
    running: int = 0
    waiting: int = 0
    decode_tokens: int = 0
    """Number of tokens generated since the worker started."""
    prefill_tokens: int = 0
    """Number of prompt tokens processed since the worker started."""
    preparing: bool = False
    """Whether a prompt is being rendered or tokenised."""
    prepared: int = 0
    """Number of finished pieces of that work; as `steps`, it must grow."""


class Memory(Frozen, frozen=True, tag="memory", tag_field="type"):
    """Current memory of the worker."""

    use: MemoryUse


class Log(Frozen, frozen=True, tag="log", tag_field="type"):
    """Line for the daemon's log."""

    level: str
    message: str
    request: str | None = None


FromWorker = Hello | LoadProgress | Loaded | LoadFailed | Events | Heartbeat | Memory | Log
