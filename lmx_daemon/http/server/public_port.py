"""The public port: its listeners with TLS or without, the plain one beside TLS, and the servers on them."""

import asyncio
import socket
from collections.abc import Callable, Sequence

import uvicorn

from lmx_daemon.contract.addresses import is_loopback
from lmx_daemon.http.server.admin_socket import OnEnd
from lmx_daemon.http.server.listeners import bind_public, url_of
from lmx_daemon.http.server.tls import Tls
from lmx_daemon.settings.schema import ServerSettings
from lmx_daemon.storage.certificates import certificate_files

PLAIN_HOST = "127.0.0.1"


class PublicPort:
    """The bound port. Event loop only."""

    def __init__(self, settings: ServerSettings) -> None:
        """Read the certificate and bind the addresses. Raise ConfigError or StartupError."""
        files = certificate_files(settings.tls_certificate, settings.tls_key)
        self.tls = Tls(files) if files is not None else None
        self._listeners = bind_public(settings.host, settings.port)
        plain = settings.plain_port if self.tls is not None else None
        self._plain = [] if plain is None else bind_public(PLAIN_HOST, plain)
        self.exposed = not is_loopback(self._listeners[0].getsockname()[0])
        """Whether other machines reach the port."""
        self._servers: dict[asyncio.Task[None], uvicorn.Server] = {}

    @property
    def address(self) -> str:
        """The URL of the port itself."""
        return url_of(self._listeners[0], self._scheme)

    @property
    def addresses(self) -> list[str]:
        """All URLs, those without TLS first, since programs of this machine use the first one."""
        return [*map(url_of, self._plain), *(url_of(each, self._scheme) for each in self._listeners)]

    @property
    def expires_at(self) -> float | None:
        """Unix time at which the certificate expires; None without TLS."""
        return None if self.tls is None else self.tls.certificate.expires_at

    def serve(self, make: Callable[[Tls | None], uvicorn.Server], on_end: OnEnd) -> None:
        """Start the servers of `make`. `on_end` is called with the task of each server that ends."""
        self._start(make(self.tls), self._listeners, on_end)
        if self._plain:
            self._start(make(None), self._plain, on_end)

    async def close(self) -> None:
        """End the servers."""
        for server in self._servers.values():
            server.should_exit = True
        await asyncio.wait(list(self._servers))

    @property
    def _scheme(self) -> str:
        return "http" if self.tls is None else "https"

    def _start(self, server: uvicorn.Server, listeners: Sequence[socket.socket], on_end: OnEnd) -> None:
        task = asyncio.create_task(server.serve(sockets=list(listeners)))
        task.add_done_callback(on_end)
        self._servers[task] = server
