"""The public port: the addresses on which the daemon listens, and the program that already holds the port.

A loopback host is both 127.0.0.1 and ::1, since clients resolve "localhost" to either. BSD's SO_REUSEADDR lets a
program bind one address beside another's wildcard, so a port that answers counts as in use on every system.
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress

import psutil

from lmx_daemon.contract.errors import StartupError

BACKLOG = 2048
SEND_BYTES = 256 * 1024
"""Buffer for a slow reader; the system's own choice is several megabytes for each."""
LOOPBACK = ("127.0.0.1", "::1")
WILDCARD = ("", "0.0.0.0", "::")
PROBE_SECONDS = 0.5
FREE_PORT_TRIES = 20
NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EINVAL)


class PortInUse(Exception):
    """The address on which another program listens."""


def bind_public(host: str, port: int) -> list[socket.socket]:
    """Return listening TCP sockets on one port, the named address first. Raises StartupError."""
    addresses = addresses_of(host)
    for _ in range(FREE_PORT_TRIES if port == 0 else 1):
        try:
            return _listen(addresses, port)
        except PortInUse as error:
            address = error.args[0]
        except (OSError, OverflowError) as error:
            raise StartupError(
                f"cannot listen on {host}:{port}: {error}", hint="give another --host or --port"
            ) from error
    raise in_use(address, port, addresses)


def addresses_of(host: str) -> Sequence[str]:
    """Return the addresses to bind for a host of the settings."""
    if host in ("localhost", *LOOPBACK):
        first = host if host in LOOPBACK else LOOPBACK[0]
        return (first, *(other for other in LOOPBACK if other != first))
    return (host,)


def in_use(address: str, port: int, addresses: Sequence[str]) -> StartupError:
    """Return the error for a port that another program has, with its name and a port that is free."""
    name = holder(port)
    free = next_free(port, addresses)
    other = f"take another: lmx serve --port {free}" if free else "take another with --port"
    return StartupError(
        f"port {port} on {address} is in use" + (f" by {name}" if name else ""),
        hint=f"stop {name or 'what uses it (LM Studio?)'}, or {other}",
    )


def _listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Return listening sockets. Raise PortInUse, or OSError for the first address.

    A second address that this system does not have is left out.
    """
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            if port and answers(address, port):
                raise PortInUse(address)
            try:
                listeners.append(_bound(address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUse(address) from error
                if not listeners or error.errno not in NO_IPV6:
                    raise
            port = port or int(listeners[0].getsockname()[1])
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6 and address != "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)  # connections inherit it
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def answers(address: str, port: int) -> bool:
    """Return whether a program accepts connections at the address; for a wildcard, on the loopback addresses."""
    for each in LOOPBACK if address in WILDCARD else (address,):
        family = socket.AF_INET6 if ":" in each else socket.AF_INET
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(PROBE_SECONDS)
            if probe.connect_ex((each, port)) == 0 and probe.getsockname() != probe.getpeername():
                return True  # on an ephemeral port, a socket can connect to itself
    return False


def holder(port: int) -> str | None:
    """Return name and process id of the program that listens on the port, if the system shows it."""
    try:
        pids = [c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and _listens(c)]
    except (psutil.Error, OSError, RuntimeError):  # macOS shows a user's own processes only, one by one
        pids = [p.pid for p in psutil.process_iter() if _holds(p, port)]
    for pid in pids:
        with suppress(psutil.Error, OSError):
            if pid is not None:
                return f"{psutil.Process(pid).name()} (pid {pid})"
    return None


def _holds(process: psutil.Process, port: int) -> bool:
    try:
        return any(c.laddr and c.laddr.port == port and _listens(c) for c in process.net_connections("tcp"))
    except (psutil.Error, OSError, RuntimeError):
        return False


def _listens(connection: object) -> bool:
    return getattr(connection, "status", None) == psutil.CONN_LISTEN


def next_free(port: int, addresses: Sequence[str]) -> int | None:
    """Return the next port that could be bound on all addresses."""
    for candidate in range(port + 1, min(port + 1 + FREE_PORT_TRIES, 65_536)):
        with suppress(PortInUse, OSError):
            for listener in _listen(addresses, candidate):
                listener.close()
            return candidate
    return None


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the listener's address as a URL."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
