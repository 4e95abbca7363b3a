"""The table [server]: the public port, its limits and its access rules."""

from typing import Annotated

from msgspec import Meta

from lmx_daemon.settings.sections.section import Duration, Natural, Positive, Section, hot, restart

DEFAULT_PORT = 1234


class ServerSettings(Section, frozen=True):
    """The table [server]: the public port, its limits and its access rules."""

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
        restart(
            "Key with all scopes. If it is set, every request on the public port needs a key.",
            secret=True,
            variable="LMX_API_KEY",
        ),
    ] = None
    require_key: Annotated[
        bool,
        hot(
            "Whether requests from this machine need an API key as well, the one above or one of `lmx key create`. "
            "They need one in any case if `api_key` is set or if other machines reach `host`."
        ),
    ] = False
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
            "Whether clients of the public port may download and remove models without an API key. A key needs the "
            "scopes `pull` and `manage` for it."
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
        hot("Time in seconds after which a connection is closed if its client reads nothing."),
    ] = 30.0
    drain_seconds: Annotated[
        Duration,
        hot("Time in seconds that running requests have to finish after a stop was requested."),
    ] = 10.0
