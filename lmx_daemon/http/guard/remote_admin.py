"""The admin app on the public port: whether it is served there, and which keys may use it."""

from collections.abc import Callable

from lmx_daemon.contract.admin.protocol import PROTOCOL, PROTOCOL_HEADER
from lmx_daemon.contract.errors import AuthenticationError, ForbiddenError, NotFoundError, ProtocolMismatchError
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.dialect import Dialect
from lmx_daemon.http.guard.asgi import AsgiApp, first
from lmx_daemon.settings.schema import ServerSettings

PREFIX = "/admin"
"""Path below which the routes of the admin app are."""


class RemoteAdmin:
    """The admin app, without its own guard, for clients of the public port."""

    def __init__(self, dialect: Dialect, app: AsgiApp, settings: Callable[[], ServerSettings], exposed: bool) -> None:
        """`exposed` is whether other machines reach the public port."""
        self.dialect = dialect
        self.app = app
        self._settings = settings
        self._exposed = exposed

    def check_served(self, scheme: str) -> None:
        """Raise NotFoundError if it is switched off, and ForbiddenError for a connection that may not use it."""
        allowed = self._settings().admin_over_tcp
        if allowed == "off":
            raise NotFoundError(
                "the daemon is not managed over TCP",
                hint='to allow it for API keys with the scope manage: lmx config set server.admin_over_tcp "tls"',
            )
        if allowed == "tls" and self._exposed and scheme != "https":
            raise ForbiddenError(
                "the daemon is managed over TLS only, since other machines reach this port",
                hint='set server.tls_certificate, or server.admin_over_tcp = "unencrypted" behind a proxy with TLS',
            )

    def check(self, principal: Principal, headers: list[tuple[bytes, bytes]]) -> None:
        """Raise the error of a request that may not manage the daemon, or that has another protocol version."""
        if principal.key is None:
            raise AuthenticationError(
                "an API key with the scope manage is missing", hint="make one: lmx key create NAME --scope manage"
            )
        principal.require("manage")
        if principal.models:
            raise ForbiddenError(
                "this API key is limited to some models, and the daemon is managed as a whole",
                hint="make a key for it without --model: lmx key create NAME --scope manage",
            )
        check_protocol(headers)


def check_protocol(headers: list[tuple[bytes, bytes]]) -> None:
    """Raise ProtocolMismatchError for a program whose protocol is not that of the daemon."""
    theirs = first(headers, PROTOCOL_HEADER.encode())
    if theirs is not None and theirs != str(PROTOCOL):
        raise ProtocolMismatchError(
            f"the daemon speaks protocol {PROTOCOL}, this program {theirs}",
            hint="restart the daemon with the same lmx: lmx stop, then lmx serve",
        )
