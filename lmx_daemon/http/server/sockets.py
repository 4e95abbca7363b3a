"""Sockets and protocols: binding, and the limits on a connection until its request has arrived."""

import asyncio
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lmx_daemon.contract.errors import StartupError
from lmx_daemon.http.server.connections import Closable, ConnectionLimit
from lmx_daemon.settings.paths import Home, already_running
from lmx_daemon.storage.durable import open_owned

BACKLOG = 2048
SOL_LOCAL, LOCAL_PEERCRED = 0, 1
XUCRED_VERSION, XUCRED_BYTES = 0, 76
"""macOS: struct xucred of <sys/ucred.h>, which begins with its version and the user id."""
MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
"""Maximum seconds from the first byte of a connection or a request to the end of the request's head."""
BODY_SECONDS = 60.0
TURNED_AWAY_SECONDS = 1.0
"""Time in which a refused client can read the answer before its connection is cut."""
UPGRADING = (b"upgrade", b"http2-settings")
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
FULL_BODY = (
    b'{"error":{"message":"the daemon has too many open connections","type":"server_error","param":null,'
    b'"code":"too_many_connections","hint":"close connections, or raise [server] max_connections"}}'
)
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(FULL_BODY), FULL_BODY)
)


def take_lock(home: Home) -> IO[bytes]:
    """Lock the home for this daemon. The kernel releases the lock when the file closes, also after a crash."""
    try:
        lock = open_owned(home.lock, "ab")
    except OSError as error:
        raise StartupError(
            f"cannot open {home.lock}: {error.strerror}", hint="set LMX_HOME to another place"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise already_running(home) from error
    return lock


def bind_admin(path: Path) -> socket.socket:
    """Return a listening Unix socket that only its owner can reach.

    The caller holds the lock of the home, so an existing socket file is stale.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o077)  # of all threads, so a folder that one makes meanwhile stays usable
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        hint = "set LMX_HOME to a shorter path" if "too long" in str(error) else "set LMX_HOME to another place"
        raise StartupError(f"cannot listen on {path}: {error}", hint=hint) from error
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the size of heads, on slow heads and bodies, and on clients that stop reading.

    It serves one request at a time. A request that arrives before the last one is answered is not read, and the
    connection ends with that answer.
    """

    stall_seconds = 30.0
    limit: ConnectionLimit
    """Bound on the connections of the app."""
    handshake: Closable | None = None
    """The handshake of this connection, which was counted by the bound until the protocol took over."""

    def connection_made(  # type: ignore[override]  # uvicorn's own word for it, narrower than asyncio's
        self, transport: asyncio.Transport
    ) -> None:
        self._head_bytes = 0
        """Bytes of the request line, headers and trailers that have been parsed."""
        self._unparsed = 0
        """Bytes since the last whole head or piece of a body: a header or trailer without end is never parsed."""
        self._in_head = True
        self._refused = False
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        if self.handshake is not None:
            self.limit.remove(self.handshake)
        if _is_strangers(transport):
            transport.abort()
        elif self.limit.admit(self):
            self._wait_for(HEAD_SECONDS)
        else:
            self._turn_away()

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def _turn_away(self) -> None:
        """Answer 503. The client's request is read and discarded, since a reset could overtake the answer."""
        self._refused = True
        if not self.limit.turn_away(self):
            self.transport.abort()
            return
        self.transport.write(FULL)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS has no half-closed connections
            self.transport.close()
        self._wait_for(TURNED_AWAY_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.limit.remove(self)
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed += len(data)
        if self._in_head and self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for(HEAD_SECONDS)
        try:
            self._unset_keepalive_if_required()
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._unparsed > MAX_HEAD_BYTES:
            self._refuse()

    def _parse(self, data: bytes) -> None:
        """Parse `data`. A request to upgrade the protocol is parsed again without the upgrade, since its body follows.

        Java's HTTP client asks for h2c with every request.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._refused:
                return
            method, version = self.parser.get_method(), self.parser.get_http_version()
            if method == b"CONNECT":
                self.send_400_response("CONNECT is not supported.")
                return
            head = without_upgrade(f"{method.decode()} {self.url.decode('latin-1')} HTTP/{version}", self.headers)
            self._head_bytes = 0
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head + data[upgrade.args[0] :])

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._refused or self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
            return
        if self.parser.should_upgrade():  # see _parse
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # uvicorn would queue it, and no longer notice that the client of the running request disconnects.
            self.cycle.keep_alive = False
            self._refused = True
            return
        self._in_head, self._unparsed = False, 0
        self._wait_for(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused or self.parser.should_upgrade():
            return
        self._in_head, self._head_bytes, self._unparsed = True, 0, 0
        self._wait_for(None)
        if not self.cycle.response_complete:
            self.limit.serve(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.limit.wait(self)
        super().on_response_complete()
        self._limit_close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._limit_close()

    def _limit_close(self) -> None:
        """Cut a closing connection whose client does not read the rest of the answer."""
        if self.transport.is_closing() and self._stall is None:
            self._stall = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def _refuse(self) -> None:
        """Read nothing more, and answer 431 unless another answer is under way or this request has been answered."""
        if not self._refused and not self.transport.is_closing():
            cycle = self.cycle
            if cycle is None or (cycle.response_complete if self._in_head else not cycle.response_started):
                self.transport.write(TOO_LARGE)
            self.transport.close()
        self._refused = True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _wait_for(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self.transport.abort)


def without_upgrade(request_line: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request without its upgrade to another protocol."""
    lines = [request_line.encode("latin-1")]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(each for each in value.split(b",") if each.strip().lower() not in UPGRADING)
        if name not in UPGRADING:
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


def protocol_for(stall_seconds: Callable[[], float], limit: ConnectionLimit) -> type[LimitedProtocol]:
    """Return a protocol class with these limits; uvicorn creates the instances, so that the class must carry them."""
    return type(
        "Protocol", (LimitedProtocol,), {"stall_seconds": property(lambda self: stall_seconds()), "limit": limit}
    )


def _is_strangers(transport: Any) -> bool:
    """Return whether a Unix socket's peer is another user. It is a second check beside the mode of the file."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return False
    return peer_uid(peer, sys.platform) not in (os.getuid(), 0)


def peer_uid(peer: Any, system: str) -> int | None:
    """Return the user id of a Unix socket's peer; None if the system does not report it."""
    try:
        if system == "linux":
            _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return int(uid)
        version, uid = struct.unpack_from("=II", peer.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED_BYTES))
    except (OSError, struct.error):
        return None
    return int(uid) if version == XUCRED_VERSION else None
