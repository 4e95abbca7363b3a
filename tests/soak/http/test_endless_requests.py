"""Requests without an end, and clients that send or read slowly: refused within bounds of memory and time."""

import socket
import time
from contextlib import suppress

import pytest

from tests.end_to_end.running import Daemon, wait_until
from tests.soak.conftest import TALKER
from tests.soak.http.raw_port import (
    CHUNK,
    CHUNKED,
    GET,
    POST,
    SILENCE_SECONDS,
    connect,
    in_pieces,
    memory,
    raw,
    statuses,
)
from tests.soak.http.raw_port import daemon as daemon

pytestmark = pytest.mark.slow


class TestEndlessRequests:
    """Requests that are too large are refused while they arrive, and take no memory of the daemon."""

    @pytest.mark.parametrize(
        ("head", "unit"),
        [
            (GET + b"X: ", b"a" * 65536),
            (GET, b"X: 12345678\r\n" * 5000),
            (b"GET /v1/models?", b"a" * 65536),
            (b"GET /", b"%2e%2e/" * 9000),
            (CHUNKED + CHUNK + b"0\r\n", b"X: 12345678\r\n" * 5000),
            (CHUNKED + CHUNK + b"0\r\nX: ", b"a" * 65536),
        ],
        ids=["a long header", "many headers", "a long query", "a long path", "many trailers", "a long trailer"],
    )
    def test_an_endless_head_gets_431(self, daemon: Daemon, head: bytes, unit: bytes) -> None:
        before = memory(daemon)
        with connect(daemon) as connection:
            sent, answer = len(head), b""
            with suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(head)
                while sent < 20_000_000:
                    connection.sendall(unit)
                    sent += len(unit)
            with suppress(ConnectionResetError, TimeoutError):
                connection.settimeout(SILENCE_SECONDS)
                answer = connection.recv(1000)
        assert sent < 20_000_000, "the daemon took all of it"
        assert statuses(answer) in ([431], [])  # a reset can discard the refusal
        assert memory(daemon) - before < 20e6
        # A few bytes above the limit leave nothing unread, so that the refusal arrives.
        assert statuses(raw(daemon, head, *[(unit * 2)[place : place + 4096] for place in range(0, 69_632, 4096)])) == [
            431
        ]

    def test_an_endless_trailer_behind_an_early_refusal_gets_no_second_answer(self, daemon: Daemon) -> None:
        early = CHUNKED.replace(b"application/json", b"text/plain") + CHUNK
        for trailer in (b"0\r\nX: " + b"a" * 69_632, b"0\r\n" + b"X: 12345678\r\n" * 6000):
            assert statuses(raw(daemon, early, *in_pieces(trailer))) == [415]

    def test_a_body_without_end_gets_413(self, daemon: Daemon) -> None:
        before = memory(daemon)
        for head in (POST + b"Content-Length: 2000000\r\n\r\n", CHUNKED):
            unit = b"" if head is not CHUNKED else b"10000\r\n" + b" " * 65536 + b"\r\n"
            assert statuses(raw(daemon, head + unit * 20)) == [413]
        assert memory(daemon) - before < 20e6


class TestSlowClients:
    def test_connections_with_slow_heads_and_bodies_are_closed_and_others_are_served(self, daemon: Daemon) -> None:
        before = memory(daemon)
        heads = [connect(daemon) for _ in range(200)]
        bodies = [connect(daemon) for _ in range(60)]
        begun = time.monotonic()
        try:
            for connection in heads:
                connection.sendall(GET)
            for connection in bodies:
                connection.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
            ended: dict[socket.socket, float] = {}
            while len(ended) < len(heads) + len(bodies) and time.monotonic() - begun < 90:
                for connection in [*heads, *bodies]:
                    if connection not in ended and not trickle(connection):
                        ended[connection] = time.monotonic() - begun
                assert daemon.get("/health")[0] == 200
                time.sleep(0.5)
            assert len(ended) == 260
            assert all(8 < ended[connection] < 20 for connection in heads)
            assert all(55 < ended[connection] < 80 for connection in bodies)
        finally:
            for connection in [*heads, *bodies]:
                connection.close()
        assert memory(daemon) - before < 30e6

    def test_connections_of_clients_that_read_nothing_are_closed(self, daemon: Daemon) -> None:
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        before = memory(daemon)
        body = b'{"model":"%s","prompt":"x","max_tokens":30000,"stream":true,"logprobs":5}' % TALKER.encode()
        readers = []
        for _ in range(40):
            readers.append(reader := connect(daemon, receive_bytes=4096))
            reader.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: len(daemon.admin("GET", "/admin/requests")) == 40, 20, "all requests are known")
        wait_until(lambda: not daemon.admin("GET", "/admin/requests"), 90, "all readers are cut")
        grown = memory(daemon) - before
        for reader in readers:
            reader.close()
        assert grown < 80e6, f"the daemon grew by {grown / 1e6:.0f} MB"
        assert statuses(raw(daemon, GET + b"\r\n")) == [200]


def trickle(connection: socket.socket) -> bool:
    """Send one byte of a head or a body; return whether the connection is still open."""
    connection.setblocking(False)
    try:
        connection.send(b"X")
        return connection.recv(100) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
