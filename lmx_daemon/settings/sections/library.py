"""The table [library]: the Hub, downloads, and the folders with models."""

from typing import Annotated

from msgspec import Meta

from lmx_daemon.settings.paths import check_cache, check_folder
from lmx_daemon.settings.sections.section import Duration, Natural, Positive, Section, hot, restart
from lmx_daemon.settings.values.rates import check_schedule


def check_folders(folders: list[str]) -> None:
    """Raise ValueError for a path that no folder can have."""
    for folder in folders:
        check_folder(folder)


class LibrarySettings(Section, frozen=True):
    """The table [library]: the Hub, downloads, and the folders with models."""

    endpoint: Annotated[
        str | None,
        hot(
            "URL of the Hub or of a mirror. HF_ENDPOINT of the caller takes precedence. Unset is the HF_ENDPOINT of "
            "the daemon, else huggingface.co."
        ),
    ] = None
    cache: Annotated[
        str | None,
        restart(
            "Folder of the pulled models, in the layout of the Hub's cache. `lmx move` moves them and sets it. Unset "
            "is the cache of the Hub's tools: HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub.",
            check=check_cache,
        ),
    ] = None
    reserve_bytes: Annotated[
        Natural,
        hot("Disk space in bytes that a pull leaves free."),
    ] = 2 * 1024**3
    folders: Annotated[
        tuple[str, ...],
        restart("Further folders with models: a model's own folder, or a folder of such folders.", check=check_folders),
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
    rate_schedule: Annotated[
        dict[str, str],
        hot(
            'Rates by local time, such as { "mon-fri 08:00-18:00" = "2 MB/s", "22:00-06:00" = "off" }. The first entry '
            "that applies takes precedence over bytes_per_second; off is no limit. An entry past midnight belongs to "
            "the day on which it begins.",
            check=check_schedule,
        ),
    ] = {}
    patience_seconds: Annotated[
        Duration,
        hot("Time in seconds after which a pull fails that receives no bytes. It can be resumed."),
    ] = 300.0
