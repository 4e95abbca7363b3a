"""The check of every request before its route: host, origin, key, and size of the body.

It is plain ASGI around each app, so that a refused request reaches nothing behind it. It does not know routes; the
dialect that owns the path gives a refusal its form.
"""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from lmx_daemon.contract.admin.protocol import PROTOCOL, PROTOCOL_HEADER, REQUEST_ID_HEADER
from lmx_daemon.contract.errors import (
    ForbiddenError,
    LmxError,
    MediaTypeError,
    MisdirectedError,
    RequestError,
    TooLargeError,
)
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialect import Dialects, is_below
from lmx_daemon.http.errors import headers_of
from lmx_daemon.http.guard.access import Access, Verify, no_keys
from lmx_daemon.http.guard.asgi import (
    AsgiApp,
    AsgiReceive,
    AsgiScope,
    AsgiSend,
    answer,
    bounded,
    first,
    refuse,
    with_headers,
)
from lmx_daemon.http.guard.key_limits import KeyLimits
from lmx_daemon.http.guard.principals import OWNER
from lmx_daemon.http.guard.remote_admin import PREFIX, RemoteAdmin, check_protocol
from lmx_daemon.http.server.body_reader import BodyReader, RequestBytes
from lmx_daemon.settings.schema import ServerSettings

IDENTITY = re.compile(r"[A-Za-z0-9._-]{1,64}")
ID_HEADERS = (REQUEST_ID_HEADER.encode(), b"request-id")
"""Headers with the id of a request in its answer. OpenAI's clients read the first one, Anthropic's the second."""
ADMIN_HEADERS = [(PROTOCOL_HEADER.encode(), str(PROTOCOL).encode())]
"""Headers of each answer of the admin app."""
READS = ("GET", "HEAD")
"""Methods that do not count for the limits of a key: lists and states are cheap, and agents poll them."""
MAX_CLIENT_CHARACTERS = 80
MAX_TRACE_CHARACTERS = 128
LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class PublicGuard:
    """The guard of the public app."""

    def __init__(
        self,
        app: AsgiApp,
        dialects: Dialects,
        settings: Callable[[], ServerSettings],
        bound: str,
        bodies: BodyReader,
        responded: Callable[[str, int], None] = lambda dialect, status: None,
        verify: Verify = no_keys,
        admin: RemoteAdmin | None = None,
        others: Sequence[str] = (),
    ) -> None:
        """Guard `app` and `admin`. `responded` is called with the dialect's name and the status of each answer.

        `bound` and `others` are the URLs of the app; `bound` decides whether other machines reach it.
        """
        self._admin = admin
        self._others = others
        self._access = Access(settings, bound, verify)
        self._limits = KeyLimits()
        self._app = app
        self._dialects = dialects
        self._bodies = bodies
        self._settings = settings
        self._bound = bound
        self._responded = responded
        self._allowed: AllowedNames | None = None

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        admin = self._admin if is_below(scope["path"], PREFIX) else None
        identity, dialect = request_id(headers), admin.dialect if admin else self._dialects.owner(scope["path"])
        extra = [(name, identity.encode()) for name in ID_HEADERS] + (ADMIN_HEADERS if admin else [])
        try:
            origin = self._allowed_origin(headers)
            if origin is not None:
                extra += cors(origin)
                if scope["method"] == "OPTIONS":
                    self._responded(dialect.name, 204)
                    await answer(send, 204, b"", [*extra, *PREFLIGHT])
                    return
            principal = self._principal(scope, headers, admin)
            check_body(scope["method"], headers, self._settings().max_body_bytes, dialect.any_body_type)
            counted = scope["method"] not in READS
            if counted:
                self._limits.enter(principal)
        except LmxError as error:
            refusal = dialect.error(error, identity)
            self._responded(dialect.name, refusal.status)
            await refuse(send, refusal, headers_of(error), extra)
            return
        context = RequestContext(identity, dialect, principal, client_of(headers), trace_of(headers))
        context.enter(scope)
        if scope["method"] == "HEAD" and admin is None:  # the server itself leaves the body out
            scope = {**scope, "method": "GET"}
        app = admin.app if admin else self._app
        held = RequestBytes(self._bodies)
        try:
            receive = bounded(receive, self._settings().max_body_bytes, held)
            responded = partial(self._responded, dialect.name)
            await app(scope, receive, with_headers(send, extra, context.answer_headers, responded))
        finally:
            held.release()
            if counted:
                self._limits.leave(principal)

    def _principal(self, scope: AsgiScope, headers: list[tuple[bytes, bytes]], admin: RemoteAdmin | None) -> Principal:
        """Return the identity of a request. Raise LmxError for one that may not use the app of its path."""
        if admin is None:
            return self._access.principal(scope["path"], headers)
        admin.check_served(scope["scheme"])
        principal = self._access.principal(scope["path"], headers)
        admin.check(principal, headers)
        return principal

    def _allowed_origin(self, headers: list[tuple[bytes, bytes]]) -> str | None:
        """Return the request's origin if it has one. Raise MisdirectedError or ForbiddenError."""
        allowed = self._names()
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in allowed.hosts:
            raise MisdirectedError(
                "this Host is not served here",
                hint="call 127.0.0.1 or localhost, or list the name in [server] allowed_hosts",
            )
        origins = [value.decode("latin-1").lower() for name, value in headers if name == b"origin"]
        if origins and (len(origins) > 1 or origins[0] not in allowed.origins):
            raise ForbiddenError(
                "browser origins are refused unless they are listed",
                hint="list the origin in [server] allowed_origins of config.toml",
            )
        return origins[0] if origins else None

    def _names(self) -> "AllowedNames":
        """Return the hosts and origins of the settings in force; they are computed once for each change."""
        settings = self._settings()
        if self._allowed is None or self._allowed.settings is not settings:
            origins = frozenset(origin.rstrip("/").lower() for origin in settings.allowed_origins)
            self._allowed = AllowedNames(settings, allowed_hosts(settings, self._bound, *self._others), origins)
        return self._allowed


@dataclass(frozen=True)
class AllowedNames:
    """Hosts and origins that a request may have, by the settings from which they were computed."""

    settings: ServerSettings
    hosts: frozenset[str]
    origins: frozenset[str]


class AdminGuard:
    """The guard of the admin app. The socket's mode admits only its owner, so that only the protocol is checked."""

    def __init__(self, app: AsgiApp, dialects: Dialects) -> None:
        self._app = app
        self._dialects = dialects

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["type"] != "http":
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        context = RequestContext(
            request_id(headers), self._dialects.owner(scope["path"]), OWNER, client_of(headers), trace_of(headers)
        )
        context.enter(scope)
        extra = [(REQUEST_ID_HEADER.encode(), context.id.encode()), *ADMIN_HEADERS]
        try:
            check_protocol(headers)
        except LmxError as error:
            await refuse(send, context.dialect.error(error, context.id), headers_of(error), extra)
            return
        await self._app(scope, receive, with_headers(send, extra, context.answer_headers))


PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, DELETE, PATCH, OPTIONS"),
    # The star covers the headers that SDKs add. It does not cover the key's header.
    (b"access-control-allow-headers", b"authorization, content-type, x-api-key, *"),
    (b"access-control-allow-private-network", b"true"),
    (b"access-control-max-age", b"600"),
)


def allowed_hosts(settings: ServerSettings, *bound: str) -> frozenset[str]:
    """Return the permitted values of the Host header, with the port of each URL in `bound` and without it."""
    names = {*LOCAL_NAMES, *(host.lower() for host in settings.allowed_hosts)}
    for parts in map(urlsplit, bound):
        if parts.hostname and parts.hostname not in ("0.0.0.0", "::"):
            names.add(f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
    return frozenset(names | {f"{name}:{urlsplit(each).port}" for name in names for each in bound})


def check_body(method: str, headers: list[tuple[bytes, bytes]], limit: int, any_type: bool = False) -> None:
    """Raise LmxError for a body that is too large, or that is not declared as JSON unless `any_type`.

    A request without a body needs no type: its route is unknown, reads none, or refuses the missing body by itself.
    """
    length = first(headers, b"content-length")
    if length is not None and not length.isdigit():
        raise RequestError("Content-Length is not a number")
    if length is not None and int(length) > limit:
        raise TooLargeError(f"the body has {length} bytes; {limit} are allowed", hint="[server] max_body_bytes")
    empty = length in (None, "0") and first(headers, b"transfer-encoding") is None
    if method in ("POST", "PUT", "PATCH") and not any_type and not empty:
        kind = (first(headers, b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise MediaTypeError(
                f"the body must be JSON, and this one is {kind or 'of no declared type'}",
                hint="send the header: Content-Type: application/json",
            )


def client_of(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the name of the client program."""
    return (first(headers, b"user-agent") or "")[:MAX_CLIENT_CHARACTERS]


def trace_of(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the trace that the client's request belongs to."""
    return (first(headers, b"traceparent") or "")[:MAX_TRACE_CHARACTERS]


def request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the client's own id if it has a valid form, else a new one."""
    given = first(headers, REQUEST_ID_HEADER.encode())
    return given if given and IDENTITY.fullmatch(given) else uuid.uuid4().hex


def cors(origin: str) -> list[tuple[bytes, bytes]]:
    """Return the headers for a listed origin. Errors need them as well: without them a browser hides the status."""
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"x-request-id, request-id, retry-after, x-lmx-model, x-lmx-ignored"),
        (b"vary", b"origin"),
    ]
