"""The table [traces] of config.toml."""

from typing import Annotated

from lmx_daemon.settings.sections.section import Section, hot


class TraceSettings(Section, frozen=True):
    """The table [traces]: OpenTelemetry spans of requests."""

    enabled: Annotated[
        bool,
        hot("Whether a trace of each request is sent to `endpoint`. It needs the extra: pip install 'lmx[otel]'."),
    ] = False
    endpoint: Annotated[
        str,
        hot("URL that receives the traces as OTLP over HTTP."),
    ] = "http://127.0.0.1:4318/v1/traces"
    text: Annotated[
        bool,
        hot("Whether traces contain the messages of prompts."),
    ] = False
