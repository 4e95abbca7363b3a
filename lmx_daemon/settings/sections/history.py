"""The table [history] of config.toml."""

from typing import Annotated

from msgspec import Meta

from lmx_daemon.settings.sections.section import Positive, Section, hot


class HistorySettings(Section, frozen=True):
    """The table [history]: the records of requests that have ended."""

    enabled: Annotated[
        bool,
        hot(
            "Whether a record of each request is kept in LMX_HOME: times, token counts, model, client and outcome, but "
            "no text. `lmx requests` shows them."
        ),
    ] = True
    days: Annotated[
        float,
        Meta(gt=0, le=3650),
        hot("Days for which a record is kept."),
    ] = 30.0
    max_requests: Annotated[
        Positive,
        hot("Maximum number of records; the oldest are dropped first. 100,000 records take about 30 MB."),
    ] = 100_000
    failed_requests: Annotated[
        bool,
        hot(
            "Whether requests that fail are kept with their text for a day, so that `lmx requests export` can write "
            "them to a bug report. They lie unencrypted in LMX_HOME."
        ),
    ] = False
    failed_bytes: Annotated[
        Positive,
        hot(
            "Maximum size in bytes of all failed requests that are kept with their text. The oldest are dropped first."
        ),
    ] = 64 * 1024 * 1024
