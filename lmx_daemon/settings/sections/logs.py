"""The table [logs] of config.toml."""

from typing import Annotated, Literal

from msgspec import Meta

from lmx_daemon.settings.sections.section import Section, hot

LogLevel = Literal["debug", "info", "warning", "error"]


class LogSettings(Section, frozen=True):
    """The table [logs]: which lines the daemon writes, and how many it keeps."""

    level: Annotated[
        LogLevel,
        hot("Lowest level of the lines that are written."),
    ] = "info"
    levels: Annotated[
        dict[str, LogLevel],
        hot(
            'Levels of single parts, such as { http = "debug", worker = "error" }. Parts are daemon, http, worker, '
            "pool, pulls, library, catalog, trash, updates, settings, state, history, observers and uvicorn."
        ),
    ] = {}
    file_bytes: Annotated[
        Annotated[int, Meta(ge=64 * 1024)],
        hot("Size in bytes at which a new file of the log is begun."),
    ] = 8 * 1024 * 1024
    files: Annotated[
        Annotated[int, Meta(ge=1, le=100)],
        hot("Number of earlier files of the log that are kept."),
    ] = 3
