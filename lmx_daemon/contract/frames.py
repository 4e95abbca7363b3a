"""What the daemon and a worker say to each other over their socketpair, and how it is framed.

A frame is a 4-byte big-endian length and a msgpack body. Both sides send tagged structs only; an unknown tag, a body
that does not fit its type or a length above the limit is a FrameError, and the connection is over.
"""

import struct
from typing import Any, Generic, Literal, TypeVar

import msgspec

from lmx_daemon.contract.errors import ErrorBody, LmxError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation import Event, Request
from lmx_daemon.contract.text import encodable

WORKER_PROTOCOL = 1
MAX_FRAME_BYTES = 256 * 1024 * 1024
"""An upper bound that a request with many images stays under; anything above it is a broken peer."""
LAST_WORDS = "lmx worker: "
"""Begins the line on a worker's stderr that gives the reason for its end."""
EngineKind = Literal["text"]
"""What a model computes. It selects the worker program, the load options and, with them, the requests and events."""
T = TypeVar("T")
_LENGTH = struct.Struct(">I")


class FrameError(LmxError):
    code = "broken_frame"


# ---- daemon to worker ----------------------------------------------------------------------------------------------


class TextOptions(Frozen, frozen=True, tag="text", tag_field="kind"):
    """Settings of one worker for a text model, fixed for its life."""

    context_length: int | None = None
    """None: the model's own."""
    max_running: int = 32
    """Sequences decoded together."""
    max_waiting: int = 256
    """Requests waiting inside the worker; above it a request fails with queue_full."""
    prefill_step: int = 512
    """Prompt tokens processed between two decode steps, at most."""
    prefix_cache_bytes: int | None = None
    """None: half of `cache_bytes`, within bounds."""
    cache_bytes: int = 0
    """For keys and values, prefixes included; 0: as much as there is. A Grant changes it."""
    prefix_disk_bytes: int = 0
    """Of all models together; 0 keeps nothing on disk."""
    prefix_disk_path: str = ""
    sanitize_control_tokens: bool = True
    """Whether control tokens in user and tool messages are plain text to the model."""
    wired: str = "auto"
    """macOS only: "auto" wires models above half of the recommended working set, "off", or a number of bytes."""
    template_seconds: float = 5.0
    template_memory_bytes: int = 512 * 1024 * 1024


LoadOptions = TextOptions
"""Union of the options of all engine kinds; the tag is the kind."""


class Load(Frozen, frozen=True, tag="load", tag_field="type"):
    instance: str
    model: str
    path: str
    options: LoadOptions = TextOptions()
    trusted: bool = False
    """The repository's own code may run: a person allowed it, for this revision."""


class Submit(Frozen, frozen=True, tag="submit", tag_field="type"):
    request: Request
    waited: float = 0.0
    """Seconds the request spent in the daemon, so that timings count from its arrival."""
    load_seconds: float = 0.0


class Cancel(Frozen, frozen=True, tag="cancel", tag_field="type"):
    """Idempotent; an unknown id is ignored."""

    id: str


class Grant(Frozen, frozen=True, tag="grant", tag_field="type"):
    """From now on so much memory for keys and values, prefixes included. Less than is in use: prefixes go, and no
    request begins until what runs has made room."""

    cache_bytes: int


class Leave(Frozen, frozen=True, tag="leave", tag_field="type"):
    """Finish nothing more, free memory and exit 0."""


ToWorker = Load | Submit | Cancel | Grant | Leave


# ---- worker to daemon ----------------------------------------------------------------------------------------------


class Hello(Frozen, frozen=True, tag="hello", tag_field="type"):
    """The first frame: imports are done and a model can be loaded."""

    protocol: int
    engine: str
    pid: int
    versions: dict[str, str] = {}
    backend: str = ""
    """Where MLX computes and with what, in words: "cpu, OpenBLAS" or "metal, Apple M3 Max"."""
    device_memory: int = 0
    """Bytes that the GPU recommends to use at most; 0 on a CPU."""


class LoadProgress(Frozen, frozen=True, tag="load_progress", tag_field="type"):
    stage: str
    """"checking", "weights", "warming up"."""
    fraction: float | None = None


class Capabilities(Frozen, frozen=True):
    context_length: int
    tools: bool = False
    tool_parser: str | None = None
    thinking: bool = False
    vision: bool = False
    chat: bool = True
    """False: no chat template; only raw prompts."""


class MemoryUse(Frozen, frozen=True):
    """Bytes, as the worker's own allocator and the system count them."""

    active: int = 0
    """Live MLX arrays: weights, keys and values, scratch."""
    cache: int = 0
    """Freed buffers that MLX keeps for reuse."""
    peak: int = 0
    weights: int = 0
    prefix_cache: int = 0
    resident: int = 0
    """RSS of the worker process."""


Basis = Literal["exact", "computed", "estimated", "measured"]
"""Where a figure comes from: the files' own headers, the config, a rule of thumb, the running model."""
CACHE_BLOCK = 256
"""Caches grow by so many tokens at a time."""


class Growing(Frozen, frozen=True):
    """Layers that keep something of each token."""

    per_token: int
    """Bytes, over these layers."""
    window: int | None = None
    """They keep the last so many tokens; None: all."""


class CacheShape(Frozen, frozen=True):
    """What a model keeps of one sequence, in bytes."""

    fixed: int = 0
    """States, which do not grow."""
    growing: tuple[Growing, ...] = ()
    basis: Basis = "estimated"

    def bytes(self, tokens: int) -> int:
        """Of a sequence of `tokens`."""
        whole = -(-tokens // CACHE_BLOCK) * CACHE_BLOCK
        return self.fixed + sum(
            part.per_token * (whole if part.window is None else min(whole, part.window)) for part in self.growing
        )

    def tokens(self, room: int, most: int) -> int:
        """The longest sequence that `room` bytes hold, at most `most`; 0 where not even one block fits."""
        low, high = 0, -(-most // CACHE_BLOCK)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes(middle * CACHE_BLOCK) <= room else (low, middle - 1)
        return min(low * CACHE_BLOCK, most)


class Loaded(Frozen, frozen=True, tag="loaded", tag_field="type"):
    capabilities: Capabilities
    memory: MemoryUse
    seconds: float
    dtype: str = ""
    note: str = ""
    """What a user should know of how it runs: "bfloat16 cast to float32 for the CPU"."""
    cache: CacheShape | None = None
    """As measured on the model itself; None where that could not be done."""


class LoadFailed(Frozen, frozen=True, tag="load_failed", tag_field="type"):
    error: ErrorBody


class Events(Frozen, frozen=True, tag="events", tag_field="type"):
    """All events of one engine step."""

    events: tuple[Event, ...]


class Heartbeat(Frozen, frozen=True, tag="heartbeat", tag_field="type"):
    """Sent at least once a second by the socket side. `steps` grows with every finished unit of work (a decode step or
    one prefill chunk); while `busy`, a `steps` that stands still means a hang. Limits are the daemon's."""

    steps: int
    busy: bool
    running: int = 0
    waiting: int = 0
    decode_tokens: int = 0
    """Tokens generated since the worker started."""
    prefill_tokens: int = 0
    """Prompt tokens processed since the worker started."""
    preparing: bool = False
    """A prompt is being rendered or tokenised."""
    prepared: int = 0
    """Grows with every finished piece of that work, as `steps` does with the engine's."""


class Memory(Frozen, frozen=True, tag="memory", tag_field="type"):
    use: MemoryUse


class Log(Frozen, frozen=True, tag="log", tag_field="type"):
    level: str
    message: str
    request: str | None = None


FromWorker = Hello | LoadProgress | Loaded | LoadFailed | Events | Heartbeat | Memory | Log


class Encoder:
    """Frames out. One for each connection and thread."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, message: Any) -> bytes:
        """Return the frame of `message`; lone surrogates in its text become U+FFFD. Raises FrameError."""
        try:
            body = self._encode(message)
        except OverflowError:
            raise FrameError("a whole number in it has more than 64 bits") from None
        except RecursionError:
            raise FrameError("it is nested too deeply") from None
        if len(body) > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {len(body)} bytes is above the limit of {MAX_FRAME_BYTES}")
        return _LENGTH.pack(len(body)) + body

    def _encode(self, message: Any) -> bytes:
        try:
            return self._encoder.encode(message)
        except UnicodeEncodeError:
            return self._encoder.encode(encodable(msgspec.to_builtins(message, builtin_types=(bytes,))))


class Decoder(Generic[T]):
    """Frames in: feed it what the socket gave, take whole messages out."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """The messages that `data` completes, in order. Raises FrameError."""
        self._buffer += data
        messages: list[T] = []
        position = 0
        while len(self._buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame announces {length} bytes, above the limit of {MAX_FRAME_BYTES}")
            end = position + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            try:
                messages.append(self._decoder.decode(memoryview(self._buffer)[position + _LENGTH.size : end]))
            except (msgspec.MsgspecError, RecursionError) as error:
                raise FrameError(f"a frame does not fit the protocol: {error}") from error
            position = end
        del self._buffer[:position]
        return messages
