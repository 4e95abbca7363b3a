"""The addresses that are bound, ports in use, and the peer of the admin socket."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from lmx_daemon.contract.errors import StartupError
from lmx_daemon.http.server import listeners
from lmx_daemon.http.server.listeners import addresses_of, bind_public, url_of
from lmx_daemon.http.server.sockets import peer_uid


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for each in sockets:
        each.close()


def listen(address: str, port: int = 0) -> socket.socket:
    other = socket.create_server(
        (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, reuse_port=False
    )
    return other


def has_ipv6() -> bool:
    try:
        listen("::1").close()
    except OSError:
        return False
    return True


def test_loopback_host_is_both_addresses_on_one_port(bound: list[socket.socket]) -> None:
    bound += bind_public("127.0.0.1", 0)
    names = [url_of(each) for each in bound]
    port = names[0].rpartition(":")[2]
    assert names == [f"http://127.0.0.1:{port}", *([f"http://[::1]:{port}"] if has_ipv6() else [])]
    assert addresses_of("localhost") == ("127.0.0.1", "::1") and addresses_of("::1") == ("::1", "127.0.0.1")
    assert addresses_of("192.168.1.4") == ("192.168.1.4",)


def test_missing_ipv6_is_no_error(bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    real = listeners._bound

    def without_ipv6(address: str, port: int) -> socket.socket:
        if ":" in address:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return real(address, port)

    monkeypatch.setattr(listeners, "_bound", without_ipv6)
    bound += bind_public("127.0.0.1", 0)
    assert len(bound) == 1


@pytest.mark.parametrize("other", ["0.0.0.0", "127.0.0.1", "::1"])
def test_port_of_another_program_is_refused_with_its_name_and_a_free_one(
    bound: list[socket.socket], other: str
) -> None:
    if other == "::1" and not has_ipv6():
        return
    bound.append(listen(other))
    port = bound[0].getsockname()[1]
    with pytest.raises(StartupError) as raised:
        bind_public("127.0.0.1", port)
    assert f"(pid {os.getpid()})" in raised.value.message
    free = int(str(raised.value.hint).rpartition("--port ")[2])
    bound += bind_public("127.0.0.1", free)


def test_wildcard_of_another_program_is_refused_where_the_system_would_allow_both(
    bound: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On BSD the bind succeeds: only the connection shows the other program."""
    bound.append(listen("0.0.0.0"))
    port = bound[0].getsockname()[1]
    real, tried = listeners._bound, []

    def permissive(address: str, asked: int) -> socket.socket:
        tried.append(asked)
        return real(address, 0 if asked == port else asked)

    monkeypatch.setattr(listeners, "_bound", permissive)
    with pytest.raises(StartupError, match=f"port {port}"):
        bind_public("127.0.0.1", port)
    with pytest.raises(StartupError, match=f"port {port}"):
        bind_public("0.0.0.0", port)
    assert port not in tried


def test_second_bind_is_refused_by_the_system(bound: list[socket.socket]) -> None:
    bound += bind_public("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        listen("0.0.0.0", bound[0].getsockname()[1])


def test_port_is_free_again_while_old_connections_linger(bound: list[socket.socket]) -> None:
    first = bind_public("127.0.0.1", 0)
    port = first[0].getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    first[0].setblocking(True)
    served, _ = first[0].accept()
    served.close()  # the server's side closes first, and keeps the port in TIME_WAIT
    client.close()
    for each in first:
        each.close()
    bound += bind_public("127.0.0.1", port)


class MacSocket:
    """Unix socket with the socket options of macOS."""

    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option, size) == (0, 1, 76)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "uid"),
    [
        (struct.pack("=IIh2x16I", 0, 501, 1, *[20] * 16), 501),
        (struct.pack("=IIh2x16I", 9, 501, 1, *[20] * 16), None),
        (b"", None),
        (OSError(errno.ENOTCONN, "not connected"), None),
    ],
)
def test_peer_of_the_admin_socket_on_macos(answer: Any, uid: int | None) -> None:
    assert peer_uid(MacSocket(answer), "darwin") == uid


def test_peer_of_the_admin_socket_on_this_system() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours, "linux") == os.getuid()
