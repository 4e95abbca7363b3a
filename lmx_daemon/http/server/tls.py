"""TLS of the public port: the handshake with its limits, and the renewal of the certificate while the daemon runs."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.http.server.connections import ConnectionLimit
from lmx_daemon.http.server.sockets import HEAD_SECONDS, LimitedProtocol
from lmx_daemon.monitor.logs import log
from lmx_daemon.storage.certificates import (
    Certificate,
    CertificateFiles,
    load_certificate,
    server_context,
    signature,
)

CHECK_SECONDS = 60.0
"""Time between two checks of the files."""
RETRY_SECONDS = 1.0


class Tls:
    """The certificate of the public port."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files. Raise ConfigError."""
        self._files = files
        self._seen = signature(files)
        self.context = server_context()
        self.certificate: Certificate = load_certificate(self.context, files)

    def look(self) -> None:
        """Use changed files for new connections. Blocks. While the files are invalid, the former pair stays in use."""
        found = signature(self._files)
        if found == self._seen:
            return
        self._seen = found
        try:
            self.certificate = load_certificate(self.context, self._files)
        except ConfigError as error:
            log("http", "error", f"{error.message}; the former certificate stays in use")
        else:
            log("http", "info", f"{self._files.certificate} has changed and is used for new connections")


class TlsAcceptor:
    """The accepted connections of the port until the end of their handshakes, which count as connections that wait.

    uvicorn's own server would hold any number of connections that never send a byte.
    """

    def __init__(self, context: ssl.SSLContext, limit: ConnectionLimit, make: Callable[[], LimitedProtocol]) -> None:
        self._context, self._limit, self._make = context, limit, make
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes: set[Handshake] = set()

    def open(self, listeners: Sequence[socket.socket]) -> None:
        """Begin to accept."""
        for listener in listeners:
            self._run(self._accept(listener))

    async def close(self) -> None:
        """Stop accepting, and end the handshakes under way."""
        for handshake in list(self._handshakes):
            handshake.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # too many open files, for example
                log("http", "warning", f"a connection was not accepted: {error.strerror or error}")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            handshake = Handshake(connection)
            if self._limit.admit(handshake):
                self._run(self._secure(handshake))
            else:
                connection.close()

    async def _secure(self, handshake: "Handshake") -> None:
        """Do the handshake. After it, a protocol takes over the connection."""

        def make() -> LimitedProtocol:
            protocol = self._make()
            protocol.handshake = handshake
            return protocol

        self._handshakes.add(handshake)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                make, handshake.connection, ssl=self._context, ssl_handshake_timeout=HEAD_SECONDS
            )
        except OSError:  # includes errors of TLS, disconnects and timeouts
            pass
        finally:
            self._handshakes.discard(handshake)
            self._limit.remove(handshake)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Handshake:
    """A connection whose handshake is under way."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def abort(self) -> None:
        """Make the handshake fail at once. The transport closes the connection."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
