"""The tables of config.toml as frozen structs: type, bounds, default, help and reload behaviour of each key."""

from typing import Annotated, Literal

from msgspec import Meta

from lmx_daemon.settings.aliases import Names, check_aliases, check_name, listed
from lmx_daemon.settings.memory_limit import MemoryLimit
from lmx_daemon.settings.paths import check_folder
from lmx_daemon.settings.section import Duration, Natural, Positive, Section, hot, restart

DEFAULT_PORT = 1234


class ServerSettings(Section, frozen=True):
    """The table [server]: the public port, its limits, and who may call it."""

    host: Annotated[
        str,
        restart("Address of the public port. An address that other machines reach requires an API key."),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(ge=0, le=65535),
        restart("Public TCP port. 0 takes any free port, which `lmx status` shows."),
    ] = DEFAULT_PORT
    api_key: Annotated[
        str | None,
        restart("Key that every request on the public port must carry. LMX_API_KEY takes precedence."),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        hot("Host header names that are accepted besides 127.0.0.1, localhost and [::1]."),
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...],
        hot('Browser origins that may call, such as "https://app.example".'),
    ] = ()
    image_hosts: Annotated[
        tuple[str, ...],
        hot(
            'Hosts from which the daemon fetches images that requests name by address, such as "images.example.org". '
            "Private addresses are refused in any case. Empty: no image is fetched."
        ),
    ] = ()
    manage_over_tcp: Annotated[
        bool,
        hot(
            "Whether clients of the public port may download and remove models without an API key. A client with the "
            "key may always."
        ),
    ] = False
    answer_days: Annotated[
        float,
        Meta(ge=0, le=3650),
        hot(
            "Days for which answers of /v1/responses and /api/v1/chat are stored, so that clients can continue them. "
            "They lie unencrypted in LMX_HOME. 0 stores none."
        ),
    ] = 7.0
    answer_bytes: Annotated[
        Positive,
        hot("Maximum size in bytes of all stored answers together. The oldest are dropped first."),
    ] = 256 * 1024 * 1024
    max_connections: Annotated[
        Annotated[int, Meta(ge=8)],
        hot(
            "Maximum number of connections to the public port. Above it, the connection is closed that has waited "
            "longest without a whole request; if none waits, a new one gets status 503. The limit on open files "
            "(`ulimit -n`) can make it smaller."
        ),
    ] = 2048
    max_body_bytes: Annotated[
        Positive,
        hot("Maximum size of a request body in bytes. A larger body gets status 413."),
    ] = 64 * 1024 * 1024
    max_bodies_bytes: Annotated[
        Positive,
        hot(
            "Maximum size in bytes of all request bodies in progress together. Requests above it get status 429. "
            "Bodies up to 64 KiB are not counted."
        ),
    ] = 256 * 1024 * 1024
    max_queued: Annotated[
        Natural,
        hot(
            "Maximum number of requests that wait for one model. Above it, the newest waiting request of the client "
            "with the most requests gets status 429, so that one client cannot keep out the others. A model that is "
            "loaded keeps a smaller earlier limit inside its worker until it is loaded again."
        ),
    ] = 256
    stall_seconds: Annotated[
        Duration,
        hot("Time in seconds after which a connection is closed whose client reads nothing."),
    ] = 30.0
    drain_seconds: Annotated[
        Duration,
        hot("Time in seconds that running requests have to finish after a stop was requested."),
    ] = 10.0


class EngineSettings(Section, frozen=True):
    """The table [engine]: memory, workers and the prefix cache."""

    warm_spare: Annotated[
        bool,
        restart("Whether a worker process with its imports done is kept ready for the next load."),
    ] = True
    memory: Annotated[
        str | Positive,
        hot(
            'Memory that all models together may use: "auto", "75%", "24 GB" or a number of bytes. "auto" is 90 % of '
            "what the device recommends, on Linux of the memory limit in force. On a Mac it also leaves the memory "
            "that other programs hold; an amount does not."
        ),
    ] = "auto"
    memory_wait_seconds: Annotated[
        Duration,
        hot("Time in seconds that a load waits for busy models whose memory it needs to become idle."),
    ] = 60.0
    wired: Annotated[
        Literal["auto", "off"] | Natural,
        hot('Wired memory on a Mac: "auto", "off" or a number of bytes. Applies to the next load.'),
    ] = "auto"
    max_running: Annotated[
        Positive,
        hot("Maximum number of sequences that one model decodes together. Applies to the next load."),
    ] = 32
    context_length: Annotated[
        Positive | None,
        hot("Context length of models in tokens. Unset is the length of the model itself. Applies to the next load."),
    ] = None
    prefill_step: Annotated[
        Positive,
        hot("Maximum number of prompt tokens processed between two decode steps. Applies to the next load."),
    ] = 512
    load_seconds: Annotated[
        Duration,
        hot("Time in seconds after which a load is ended that reads no bytes and reports no progress."),
    ] = 300.0
    hang_seconds: Annotated[
        Duration,
        hot("Time in seconds after which a worker counts as hung that has work and finishes no step."),
    ] = 60.0
    leave_seconds: Annotated[
        Duration,
        hot("Time in seconds between the request to leave and SIGTERM to a worker, and again until SIGKILL."),
    ] = 5.0
    idle_seconds: Annotated[
        Duration,
        hot(
            "Time in seconds without use after which a model is unloaded that a request loaded. A model that a person "
            "loaded stays."
        ),
    ] = 3600.0
    max_restarts: Annotated[
        Positive,
        hot("Failed starts of one model within `restart_window_seconds` after which it is refused for a while."),
    ] = 3
    restart_window_seconds: Annotated[
        Duration,
        hot("Time in seconds for which a failed start of a model counts."),
    ] = 300.0
    sanitize_control_tokens: Annotated[
        bool,
        hot(
            "Whether control tokens such as <|im_end|> in user and tool messages are plain text to the model. False "
            "passes them on: then any quoted page can end a turn and begin another. Applies to the next load."
        ),
    ] = True
    prefix_cache_bytes: Annotated[
        Natural | None,
        hot(
            "Memory in bytes for keys and values of earlier prompts, for each model. 0 keeps none; unset is half of "
            "the memory that is free for them. Running requests displace them. Applies to the next load."
        ),
    ] = None
    prefix_disk_bytes: Annotated[
        Natural,
        hot(
            "Disk space in bytes for keys and values of earlier prompts, for all models together. 0 writes none. "
            "Applies to the next load."
        ),
    ] = 8 * 1024**3

    def __post_init__(self) -> None:
        """Raise ValueError for an amount of memory that cannot be parsed."""
        MemoryLimit(self.memory)


class LibrarySettings(Section, frozen=True):
    """The table [library]: the Hub, downloads, and the folders with models."""

    endpoint: Annotated[
        str | None,
        hot(
            "URL of the Hub or of a mirror. HF_ENDPOINT of the caller takes precedence. Unset is the HF_ENDPOINT of "
            "the daemon, else huggingface.co."
        ),
    ] = None
    reserve_bytes: Annotated[
        Natural,
        hot("Disk space in bytes that a pull leaves free."),
    ] = 2 * 1024**3
    folders: Annotated[
        tuple[str, ...],
        restart("Further folders with models: a model's own folder, or a folder of such folders."),
    ] = ()
    lmstudio: Annotated[
        bool,
        restart("Whether models that LM Studio downloaded are listed, in the place where they are."),
    ] = True
    trash_seconds: Annotated[
        Duration,
        hot("Time in seconds for which a removed model can be restored."),
    ] = 86_400.0
    pulls_at_once: Annotated[
        Positive,
        hot("Maximum number of pulls that run together; the others wait."),
    ] = 1
    bytes_per_second: Annotated[
        Annotated[int, Meta(ge=16_384)] | None,
        hot(
            "Maximum rate in bytes per second of all pulls together. `lmx downloads limit` changes it until a restart."
        ),
    ] = None
    patience_seconds: Annotated[
        Duration,
        hot("Time in seconds after which a pull fails that receives no bytes. It can be resumed."),
    ] = 300.0

    def __post_init__(self) -> None:
        """Raise ValueError for a path that no folder can have."""
        for folder in self.folders:
            check_folder(folder)


Fallthrough = Literal["not_installed", "does_not_fit", "failing", "overloaded", "evicts"]
"""Reason why the next model of a list is tried."""


class RouterSettings(Section, frozen=True):
    """The table [router]: which models the names of requests mean."""

    aliases: Annotated[
        dict[str, Names],
        hot(
            'Names for models: { code = ["org/big", "org/small"], "claude-*" = "code" }. The models of a list are '
            "tried in order. An entry is a model, another alias, or preset:NAME. A name with * stands for all names "
            "that match it."
        ),
    ] = {}
    default: Annotated[
        Names,
        hot("Models of the name `default`, tried in order. Unset, the name means the same as `auto`."),
    ] = ()
    fallthrough: Annotated[
        tuple[Fallthrough, ...],
        hot(
            "Reasons for trying the next model of a list: it is not installed, it does not fit into memory, it keeps "
            "crashing or its files are faulty (failing), its queue is full (overloaded), or its load would unload or "
            "wait for another model while a model of the list is in memory that is not smaller (evicts)."
        ),
    ] = ("not_installed", "does_not_fit", "failing", "overloaded", "evicts")
    download_missing: Annotated[
        bool,
        hot(
            "Whether a request for a repository of the Hub that is not installed starts its download. The request "
            "itself gets status 503 until the download is complete."
        ),
    ] = False

    def __post_init__(self) -> None:
        """Raise ValueError for a name that no model can have, and for aliases that form a cycle."""
        check_aliases(self.aliases)
        for name in listed(self.default):
            check_name(name)


class TuiSettings(Section, frozen=True):
    """The table [tui]. The TUI reads it when it starts."""

    theme: Annotated[str, restart("Name of the theme: ember, harbor or paper, or one of your own.")] = "ember"
    symbols: Annotated[
        Literal["braille", "block", "ascii"],
        restart("Characters that graphs and bars are drawn with."),
    ] = "braille"
    mouse: Annotated[bool, restart("Whether the TUI reacts to the mouse.")] = True
    keymap: Annotated[
        dict[str, str],
        restart('Keys by the name of their action, such as { "models.unload" = "U" }.'),
    ] = {}


class Settings(Section, frozen=True):
    """All settings. A new value replaces the whole struct; see source.py."""

    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    library: LibrarySettings = LibrarySettings()
    router: RouterSettings = RouterSettings()
    tui: TuiSettings = TuiSettings()
