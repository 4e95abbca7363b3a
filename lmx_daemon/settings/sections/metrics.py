"""The table [metrics] of config.toml."""

from typing import Annotated

from lmx_daemon.settings.sections.section import Section, hot


class MetricsSettings(Section, frozen=True):
    """The table [metrics]: what Prometheus reads."""

    enabled: Annotated[
        bool,
        hot("Whether requests are counted, and /metrics on the public port is answered."),
    ] = True
