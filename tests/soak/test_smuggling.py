"""Bytes of a hostile client on the public port: at most one answer for each connection, and never a 5xx."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from tests.end_to_end.running import Daemon, wait_until
from tests.soak.conftest import TALKER

pytestmark = pytest.mark.slow
CONFIG = """
[server]
allowed_hosts = ["studio.local"]
allowed_origins = ["https://app.example"]
max_body_bytes = 1_000_000
stall_seconds = 2.0
[engine]
warm_spare = false
"""
SILENCE_SECONDS = 1.5
"""Seconds of silence after which a connection counts as finished."""
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
BODY = b'{"model":"none/such","prompt":"x"}'
NEXT = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""Request that an attacker hides in the body or behind the end of another request."""
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)

SMUGGLING: dict[str, bytes] = {
    "a length and chunks": POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNK + b"0\r\n\r\n" + NEXT,
    "chunks, where the length hides the next": POST
    + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(NEXT))
    + NEXT,
    "two equal lengths": POST + LENGTH * 2 + b"\r\n" + BODY + NEXT,
    "two different lengths": POST + LENGTH + b"Content-Length: 0\r\n\r\n" + BODY + NEXT,
    "two lengths in one header": POST + b"Content-Length: %d, 0\r\n\r\n" % len(BODY) + BODY + NEXT,
    "a length of 0": POST + b"Content-Length: 0\r\n\r\n" + NEXT,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + BODY + NEXT,
    "a length with a sign": POST + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY + NEXT,
    "a hexadecimal length": POST + b"Content-Length: 0x22\r\n\r\n" + BODY + NEXT,
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY + NEXT,
    "a length with a space in the name": POST + b"Content-Length : %d\r\n\r\n" % len(BODY) + BODY + NEXT,
    "an empty length": POST + b"Content-Length: \r\n\r\n" + BODY + NEXT,
    "a length on a GET": GET + b"Content-Length: %d\r\n\r\n" % len(NEXT) + NEXT,
    "chunks on a GET": GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + NEXT,
    "an unknown coding": POST + b"Transfer-Encoding: gzip\r\n\r\n" + BODY + NEXT,
    "an unknown coding after chunks": POST
    + b"Transfer-Encoding: chunked, identity\r\n\r\n"
    + CHUNK
    + b"0\r\n\r\n"
    + NEXT,
    "two codings": POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + CHUNK + b"0\r\n\r\n" + NEXT,
    "a coding with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT,
    "a coding with a space in the name": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT,
    "a coding that is folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT,
    "a folded header": GET + b"X: a\r\n b\r\n\r\n" + NEXT,
    "line feeds alone": (GET + b"\r\n" + NEXT).replace(b"\r\n", b"\n"),
    "a line feed before the last header": GET + b"X: a\nContent-Length: 5\r\n\r\n" + NEXT,
    "a carriage return in a header": GET + b"X: a\rY: b\r\n\r\n" + NEXT,
    "a chunk with an extension": CHUNKED + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) + NEXT,
    "an extension with a line feed": CHUNKED + b"%x;a\nb\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) + NEXT,
    "a chunk of no size": CHUNKED + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT,
    "a chunk size that is no number": CHUNKED + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT,
    "a chunk size with 0x": CHUNKED + b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) + NEXT,
    "a chunk size beyond 64 bits": CHUNKED + b"f" * 17 + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT,
    "a chunk longer than its size": CHUNKED + b"5\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT,
    "a trailer that names a length": CHUNKED + CHUNK + b"0\r\nContent-Length: 5\r\n\r\n" + NEXT,
    "two whole requests": POST + LENGTH + b"\r\n" + BODY + POST + LENGTH + b"\r\n" + BODY,
    "an upgrade to h2c": GET
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n"
    + NEXT,
    "a connection for HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT,
    "a handshake of TLS": bytes.fromhex("16030100a5010000a10303") + bytes(range(160)) + NEXT,
    "a NUL in a header": GET + b"X: a\x00b\r\n\r\n" + NEXT,
    "a NUL in the path": b"GET /v1/models\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n" + NEXT,
    "an escape in a header": GET + b"X: \x1b[2J\r\n\r\n" + NEXT,
    "an escape in the method": b"\x1b[2JGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" + NEXT,
    "a tunnel": b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n" + NEXT,
    "an address of another host": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n" + NEXT,
    "a version of two digits": b"GET /v1/models HTTP/11.1\r\nHost: localhost\r\n\r\n" + NEXT,
    "no version": b"GET /v1/models\r\n\r\n" + NEXT,
    "expect": POST + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY + NEXT,
    "an unknown method": b"BREW /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" + NEXT,
    "a name that begins with a colon": GET + b": a\r\n\r\n" + NEXT,
    "a header without a colon": GET + b"nonsense\r\n\r\n" + NEXT,
}


@pytest.fixture(scope="module")
def daemon(cache: object) -> Iterator[Daemon]:
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)}, config=CONFIG).start()
    yield running
    log = (running.home / "logs" / "daemon.log").read_text()
    assert " ERROR " not in log and "Traceback" not in log
    assert running.stop() == 0


def connect(daemon: Daemon, receive_bytes: int = 0) -> socket.socket:
    host, port = daemon.address.removeprefix("http://").split(":")
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(30)
    connection.connect((host, int(port)))
    return connection


def raw(daemon: Daemon, *pieces: bytes) -> bytes:
    """Return the answer of the port to `pieces`, until it closes the connection or is silent."""
    with connect(daemon) as connection:
        answer = b""
        with suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.02)
            connection.settimeout(SILENCE_SECONDS)
            while part := connection.recv(65536):
                answer += part
        return answer


def in_pieces(data: bytes) -> list[bytes]:
    """Return the first 68 KB of `data` in pieces that are read one by one."""
    return [data[place : place + 4096] for place in range(0, 69_632, 4096)]


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in STATUS_LINE.findall(answer) if found != b"100"]


def memory(daemon: Daemon) -> int:
    assert daemon.process is not None
    return int(psutil.Process(daemon.process.pid).memory_info().rss)


def test_a_smuggled_request_is_never_answered(daemon: Daemon) -> None:
    """Each case ends with a second request, which must not get an answer."""
    assert len(SMUGGLING) >= 37
    with ThreadPoolExecutor(16) as threads:
        answers = dict(zip(SMUGGLING, threads.map(lambda data: raw(daemon, data), SMUGGLING.values()), strict=True))
    found = {name: statuses(answer) for name, answer in answers.items()}
    assert not {name: codes for name, codes in found.items() if len(codes) != 1 or not 200 <= codes[0] < 500}
    assert daemon.get("/health")[0] == 200


def test_a_smuggled_request_that_arrives_in_two_pieces_is_never_answered(daemon: Daemon) -> None:
    """Cut the first request in its middle. A connection that is reset early may lose its refusal."""

    def send(data: bytes) -> list[int]:
        place = data.find(NEXT) // 2 if NEXT in data else len(POST) // 2
        return statuses(raw(daemon, data[:place], data[place:]))

    with ThreadPoolExecutor(16) as threads:
        found = dict(zip(SMUGGLING, threads.map(send, SMUGGLING.values()), strict=True))
    assert not {name: codes for name, codes in found.items() if len(codes) > 1 or any(code >= 500 for code in codes)}
    assert sum(map(len, found.values())) > len(found) // 2


class TestNames:
    def test_only_exact_hosts_are_served(self, daemon: Daemon) -> None:
        port = daemon.address.rpartition(":")[2]
        served = ["127.0.0.1", "localhost", "[::1]", "studio.local"]
        served += [f"{name}:{port}" for name in served] + ["LOCALHOST", "Studio.Local"]
        refused = [
            "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "evil-localhost",
            "localhost:1", f"localhost:{port}0", "localhost:", f"localhost:{port}:1", "localhost@evil.example",
            "evil.example@localhost", "localhost/", "localhost, evil.example", "localhost#", "localhost?", "", "null",
            "0.0.0.0", "127.1", "127.0.0.2", "2130706433", "0x7f000001", "[::]", "[::ffff:127.0.0.1]", "::1",
            "localhost.", "*", "xn--localhost-1a", "studio.local.evil.example", "studio.local:80",
        ]  # fmt: skip
        assert len(refused) >= 30

        def get(name: str) -> list[int]:
            return statuses(raw(daemon, b"GET /v1/models HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (name.encode(), CLOSE)))

        with ThreadPoolExecutor(16) as threads:
            assert {
                name: code for name, code in zip(served, threads.map(get, served), strict=True) if code != [200]
            } == {}
            assert {
                name: code for name, code in zip(refused, threads.map(get, refused), strict=True) if code != [421]
            } == {}
        for head in (b"HTTP/1.0\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n"):
            assert statuses(raw(daemon, b"GET /v1/models " + head + b"\r\n")) in ([400], [421])

    def test_only_listed_origins_may_call(self, daemon: Daemon) -> None:
        refused = [
            "null", "https://evil.example", "http://app.example", "https://app.example.evil.example",
            "https://app.example:444", "https://evil.example/https://app.example", "http://localhost:3000",
            "https://APP.example.", "https://app.example, https://evil.example", "", "*", "file://", daemon.address,
        ]  # fmt: skip
        for origin in refused:
            answer = raw(daemon, GET + CLOSE + b"Origin: %s\r\n\r\n" % origin.encode())
            assert statuses(answer) == [403], origin
            assert b"access-control-allow" not in answer
            preflight = GET.replace(b"GET", b"OPTIONS") + CLOSE + b"Access-Control-Request-Method: POST\r\n"
            answer = raw(daemon, preflight + b"Origin: %s\r\n\r\n" % origin.encode())
            assert statuses(answer) == [403] and b"access-control-allow" not in answer, origin
        answer = raw(daemon, GET + CLOSE + b"Origin: https://app.example\r\n\r\n")
        assert statuses(answer) == [200] and b"access-control-allow-origin: https://app.example\r\n" in answer
        both = b"Origin: https://app.example\r\nOrigin: https://evil.example\r\n\r\n"
        assert statuses(raw(daemon, GET + CLOSE + both)) == [403]

    def test_only_json_is_accepted(self, daemon: Daemon) -> None:
        head = POST.partition(b"Content-Type")[0] + CLOSE + LENGTH
        for kind in (
            b"text/plain", b"multipart/form-data", b"application/x-www-form-urlencoded", b"text/json", b"",
            b"application/jsonp", b"text/plain; application/json", b"application/xml",
        ):  # fmt: skip
            assert statuses(raw(daemon, head + b"Content-Type: %s\r\n\r\n" % kind + BODY)) == [415], kind
        assert statuses(raw(daemon, head + b"\r\n" + BODY)) == [415]
        right = b"Content-Type: Application/JSON; charset=utf-8\r\n\r\n"
        assert statuses(raw(daemon, head + right + BODY)) == [404]


class TestBombs:
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
