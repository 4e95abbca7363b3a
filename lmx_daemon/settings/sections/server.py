"""The table [server]: the public port, its limits and its access rules."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from lmx_daemon.settings.sections.section import Duration, Natural, Positive, Section, hot, restart

DEFAULT_PORT = 1234


def check_host(host: str) -> None:
    """Raise ValueError for a text that is no address to bind. An empty one would mean all addresses."""
    if not host or "/" in host or any(character.isspace() for character in host):
        raise ValueError(
            f'{host[:100]!r} is no address; write "127.0.0.1" for this machine, "0.0.0.0" for all addresses'
        )


def check_origins(origins: tuple[str, ...]) -> None:
    """Raise ValueError for a text that no browser sends as an origin; there is not an origin for all pages."""
    for origin in origins:
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if not parts.scheme or not parts.hostname or parts.path.strip("/") or parts.query or "*" in origin:
            raise ValueError(f'{origin[:100]!r} is not an origin; write each one in full, as "https://app.example"')


class ServerSettings(Section, frozen=True):
    """The table [server]: the public port, its limits and its access rules."""

    host: Annotated[
        str,
        restart(
            "Address of the public port. An address that other machines reach requires an API key.", check=check_host
        ),
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
    tls_certificate: Annotated[
        str | None,
        restart(
            "PEM file with the certificate of the public port and its chain. If it is set, the port speaks HTTPS only. "
            "A renewed file is used without a restart."
        ),
    ] = None
    tls_key: Annotated[
        str | None,
        restart("PEM file with the private key of `tls_certificate`, without a passphrase. Unset: the same file."),
    ] = None
    plain_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        restart(
            "Port of the loopback addresses that is served without TLS beside `tls_certificate`, for programs on this "
            "machine. 0 takes any free port. It needs an API key as `port` does."
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...],
        hot("Host header names that are accepted besides 127.0.0.1, localhost and [::1]."),
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...],
        hot('Browser origins that may call, such as "https://app.example".', check=check_origins),
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
    admin_over_tcp: Annotated[
        Literal["off", "tls", "unencrypted"],
        hot(
            "Whether the daemon can be managed over the public port, as by `lmx --host URL` of another machine, with "
            "an API key of the scope `manage`. `tls`: over TLS, or if only this machine reaches the port. "
            "`unencrypted`: also without TLS, for a port behind a TLS proxy."
        ),
    ] = "off"
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
    prevent_sleep: Annotated[
        bool,
        hot("Whether the machine is kept from falling asleep while requests, loads or downloads are in progress."),
    ] = True
    drain_seconds: Annotated[
        Duration,
        hot("Time in seconds that running requests have to finish after a stop was requested."),
    ] = 10.0
