"""The table [engine]: memory, workers and the prefix cache."""

from typing import Annotated, Literal

from lmx_daemon.settings.sections.section import Duration, Natural, Positive, Section, hot, restart
from lmx_daemon.settings.values.memory_limit import MemoryLimit


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
            "the memory that the device recommends or, on Linux, of the memory limit in force. On a Mac, it "
            "also leaves the memory that other programs hold; a fixed limit does not.",
            check=MemoryLimit,
        ),
    ] = "auto"
    memory_wait_seconds: Annotated[
        Duration,
        hot("Maximum time in seconds that a load waits until busy models whose memory it needs are idle."),
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
        hot("Time in seconds after which a load without reads and without progress is ended."),
    ] = 300.0
    hang_seconds: Annotated[
        Duration,
        hot("Time in seconds after which a worker that has work and finishes no step counts as hung."),
    ] = 60.0
    leave_seconds: Annotated[
        Duration,
        hot("Time in seconds from the request to a worker to exit until SIGTERM, and from SIGTERM until SIGKILL."),
    ] = 5.0
    idle_seconds: Annotated[
        Duration,
        hot(
            "Time in seconds without use after which a model that a request loaded is unloaded. A model that was "
            "loaded explicitly stays."
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
            "Whether control tokens such as <|im_end|> in user and tool messages are plain text to the model. If "
            "false, any quoted page can end a turn and begin another one. Applies to the next load."
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
