"""The tables of config.toml as frozen structs, with their defaults and bounds."""

from typing import Annotated, Literal

import msgspec

from lmx_daemon.settings.memory_limit import MemoryLimit
from lmx_daemon.settings.paths import check_folder

DEFAULT_PORT = 1234

Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every table in config.toml: unknown keys are errors."""


class ServerSettings(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = DEFAULT_PORT
    """0 takes any free port, which `lmx status` tells."""
    api_key: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    """Host names besides 127.0.0.1, localhost and [::1] that requests may name."""
    allowed_origins: tuple[str, ...] = ()
    """Browser origins that may call, as "https://app.example"."""
    max_body_bytes: Count = 64 * 1024 * 1024
    max_bodies_bytes: Count = 256 * 1024 * 1024
    """Bound on the bodies of all requests under way together; above it 429. Bodies up to 64 KiB do not count."""
    max_queued: Annotated[int, msgspec.Meta(ge=0)] = 256
    """Requests waiting for one model; above it 429."""
    stall_seconds: Seconds = 30.0
    """A reader that takes nothing for so long is cut off."""
    drain_seconds: Seconds = 10.0
    """How long streams may go on after SIGTERM."""


class EngineSettings(Section, frozen=True):
    warm_spare: bool = True
    memory: str | Annotated[int, msgspec.Meta(ge=1)] = "auto"
    """What all models together may use: "auto" is 90 % of what the device recommends (on Linux of the limit in force);
    or "75%", "24 GB", a number of bytes. On a Mac "auto" also leaves what other programs hold; an amount does not."""
    memory_wait_seconds: Seconds = 60.0
    """How long a load waits for busy models to become idle, where they are in its way."""
    wired: Literal["auto", "off"] | Annotated[int, msgspec.Meta(ge=0)] = "auto"
    max_running: Count = 32
    context_length: Count | None = None
    prefill_step: Count = 512
    load_seconds: Seconds = 300.0
    """A load that makes no progress for so long is ended: it reads no bytes and reports no step."""
    hang_seconds: Seconds = 60.0
    """A worker with work that finishes no step for so long is taken as hung."""
    leave_seconds: Seconds = 5.0
    """How long a worker has between being asked to leave and SIGTERM, and again until SIGKILL."""
    idle_seconds: Seconds = 3600.0
    """A model that a request loaded is unloaded after so long without use; one loaded by hand stays."""
    max_restarts: Count = 3
    """Failed starts of one model within `restart_window_seconds` before it is refused for a while."""
    restart_window_seconds: Seconds = 300.0
    sanitize_control_tokens: bool = True
    """Whether control tokens (`<|im_end|>`) in user and tool messages are plain text to the model. False passes them
    on: then any quoted page can end a turn and begin another."""
    prefix_cache_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Keys and values of earlier prompts, for each model in memory; 0 keeps none, None a half of what is free for it.
    They give way to what runs."""
    prefix_disk_bytes: Annotated[int, msgspec.Meta(ge=0)] = 8 * 1024**3
    """The same on disk, for all models together; 0 writes none."""

    def __post_init__(self) -> None:
        MemoryLimit(self.memory)


class LibrarySettings(Section, frozen=True):
    endpoint: str | None = None
    """The Hub where a caller's HF_ENDPOINT names none; None follows the daemon's own."""
    reserve_bytes: Annotated[int, msgspec.Meta(ge=0)] = 2 * 1024**3
    """Disk space that a pull leaves free."""
    folders: tuple[str, ...] = ()
    """More places to look for models: a model's folder, or a folder of such."""
    lmstudio: bool = True
    """Models that LM Studio downloaded are listed too, where they lie."""
    trash_seconds: Seconds = 86_400.0
    """How long a removed model can be brought back."""
    pulls_at_once: Count = 1
    bytes_per_second: Annotated[int, msgspec.Meta(ge=16_384)] | None = None
    """Bound on all pulls together; `lmx downloads limit` changes it until the daemon stops."""
    patience_seconds: Seconds = 300.0
    """A pull to which no byte came for so long fails; it can be asked to go on."""

    def __post_init__(self) -> None:
        for folder in self.folders:
            check_folder(folder)


class TuiSettings(Section, frozen=True):
    theme: str = "ember"
    symbols: Literal["braille", "block", "ascii"] = "braille"
    mouse: bool = True
    keymap: dict[str, str] = {}


class Settings(Section, frozen=True):
    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    library: LibrarySettings = LibrarySettings()
    tui: TuiSettings = TuiSettings()
