"""Bytes of a hostile client on the public port: at most one answer for each connection, and never a 5xx."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.end_to_end.running import Daemon
from tests.soak.http.raw_port import BODY, CHUNK, CHUNKED, CLOSE, GET, LENGTH, POST, raw, statuses
from tests.soak.http.raw_port import daemon as daemon

pytestmark = pytest.mark.slow
NEXT = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""Request that an attacker hides in the body or behind the end of another request."""

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
