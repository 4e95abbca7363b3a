"""The uvicorn server of one app: its protocol, and what lmx does instead of uvicorn (signals, logs, access log)."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from lmx_daemon.http.server.connections import ConnectionLimit
from lmx_daemon.http.server.sockets import LimitedProtocol, protocol_for
from lmx_daemon.http.server.tls import Tls, TlsAcceptor

CONNECTION_SECONDS = 2
"""Time that open connections have after the drain before they are closed."""
DATE_SECONDS = 1.0
"""Precision of the header `date`."""


class UvicornServer(uvicorn.Server):
    """uvicorn server without signal handlers, since two servers run in one event loop."""

    def __init__(
        self, app: Any, stall_seconds: Callable[[], float], limit: ConnectionLimit, tls: Tls | None = None
    ) -> None:
        config = uvicorn.Config(
            app,
            http=protocol_for(stall_seconds, limit),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=CONNECTION_SECONDS,
        )
        self._exit = asyncio.Event()
        super().__init__(config)
        self._acceptor = TlsAcceptor(tls.context, limit, self._protocol) if tls is not None else None

    @property
    def should_exit(self) -> bool:
        """Return whether the server has been asked to end."""
        return self._exit.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self._exit.set()

    async def main_loop(self) -> None:
        """Wait for the end, and refresh the date of the answers. uvicorn itself would wake ten times a second."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._exit.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections. With TLS, uvicorn itself accepts none."""
        if self._acceptor is None:
            await super().startup(sockets)
            return
        await super().startup([])
        self._acceptor.open(sockets or [])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and end the connections."""
        if self._acceptor is not None:
            await self._acceptor.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def _protocol(self) -> LimitedProtocol:
        """Return the protocol of a new connection, as uvicorn makes it."""
        made: Any = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        protocol: LimitedProtocol = made
        return protocol
