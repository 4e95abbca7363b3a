"""A client with a key of few rights, which tries to get more: raw requests over a real socket."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.end_to_end.running import Daemon

CONFIG = '[engine]\nwarm_spare = false\n[server]\nrequire_key = true\nadmin_over_tcp = "tls"\n'


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    running = Daemon(config=CONFIG).start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def low(daemon: Daemon) -> str:
    return key_of(daemon, "--scope", "read", "--model", "org/*")


@pytest.fixture(scope="module")
def manager(daemon: Daemon) -> str:
    return key_of(daemon, "--scope", "manage")


def key_of(daemon: Daemon, *options: str) -> str:
    secret: str = json.loads(daemon.lmx("key", "create", "x", "--json", *options).stdout)["secret"]
    return secret


def statuses(daemon: Daemon, request: str, *headers: str, body: str = "") -> list[int]:
    """Return the status of each answer to raw bytes, up to the end of the connection."""
    lines = [request, "Host: localhost", *headers, "Connection: close"]
    with socket.create_connection(("127.0.0.1", int(daemon.address.rpartition(":")[2])), 30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"))
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    return [int(part.split(b" ", 1)[0]) for part in received.split(b"HTTP/1.1 ")[1:]]


REFUSED = [[400], [401], [403], [404], [405], [421], [431], [415]]


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /admin/status", "GET /admin//status", "GET //admin/status", "GET /%61dmin/status", "GET /admin%2fstatus",
        "GET /admin/%73tatus", "GET /ADMIN/STATUS", "GET /admin/status/", "GET /admin;x/status", "GET /./admin/status",
        "GET /v1/models/../../admin/status", "GET /admin/status?x-api-key=KEY", "GET /admin/status#/health",
        "GET http://localhost/admin/status", "GET http://evil.example/admin/status", "GET /admin/status%00",
        "GET /health/../admin/status", "GET /admin\\status", "HEAD /admin/status", "HEAD /admin/watch",
        "TRACE /admin/status", "PATCH /admin/config", "POST /admin/keys", "GET /admin/keys", "PUT /admin/keys",
        "POST /admin/shutdown", "DELETE /admin/keys", "get /admin/status", "CONNECT localhost:1",
    ],
)  # fmt: skip
def test_no_form_of_a_path_or_method_leads_to_the_admin_routes(daemon: Daemon, low: str, request_line: str) -> None:
    headers = (f"X-API-Key: {low}", "Content-Type: application/json", "Content-Length: 2")
    for each in (headers, headers[1:]):
        assert statuses(daemon, f"{request_line} HTTP/1.1", *each, body="{}") in REFUSED, each


def test_headers_count_once_and_whatever_their_case(daemon: Daemon, low: str, manager: str) -> None:
    path = "GET /admin/status HTTP/1.1"
    for name in ("x-api-key", "X-API-KEY", "X-Api-Key"):
        assert statuses(daemon, path, f"{name}: {manager}") == [200]
        assert statuses(daemon, path, f"{name}:\t {manager} ") == [200]
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert statuses(daemon, path, f"AUTHORIZATION: {scheme} {manager}") == [200]
    for headers in (
        (f"x-api-key: {low}", f"x-api-key: {manager}"),
        (f"x-api-key: {low}, {manager}",),
        (f"x-api-key: {low}{manager}",),
        (f"x_api_key: {manager}",),
        (f"x-api-key: {manager}\x00",),
        (f"x-api-key: {manager[:-1]}",),
        (f"x-api-key : {manager}",),
        (f"authorization: Basic {manager}",),
        (f"authorization: {manager}",),
        (f"cookie: x-api-key={manager}",),
        (f"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: https\r\nx-api-key: {low}",),
        (f"x-http-method-override: GET\r\nx-original-url: /health\r\nx-api-key: {low}",),
    ):
        assert statuses(daemon, path, *headers) in REFUSED, headers


def test_upgrades_and_smuggled_requests_get_no_further(daemon: Daemon, low: str) -> None:
    websocket = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    for path in ("/admin/status", "/admin/watch"):
        assert statuses(daemon, f"GET {path} HTTP/1.1", f"x-api-key: {low}", *websocket) in REFUSED
        h2c = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
        assert statuses(daemon, f"GET {path} HTTP/1.1", f"x-api-key: {low}", *h2c) in REFUSED
    hidden = "GET /admin/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
    kind = "Content-Type: application/json"
    for framing, body in (
        (("Content-Length: 0", "Transfer-Encoding: chunked"), f"0\r\n\r\n{hidden}"),
        (("Content-Length: 4", f"Content-Length: {len(hidden)}"), hidden),
        (("Transfer-Encoding: chunked, identity",), f"0\r\n\r\n{hidden}"),
        (("Content-Length: +2",), "{}" + hidden),
    ):
        found = statuses(daemon, "POST /v1/completions HTTP/1.1", f"x-api-key: {low}", kind, *framing, body=body)
        assert 200 not in found, (framing, found)


def test_a_read_key_reads_and_does_nothing_else(daemon: Daemon, low: str) -> None:
    key = (f"x-api-key: {low}", "Content-Type: application/json")
    assert statuses(daemon, "GET /metrics HTTP/1.1", *key) == [200]
    assert statuses(daemon, "GET /v1/models HTTP/1.1", *key) == [200]
    for method, path, body in (
        ("POST", "/v1/chat/completions", '{"model":"lmx/guide","messages":[{"role":"user","content":"x"}]}'),
        ("POST", "/v1/messages", '{"model":"lmx/guide","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'),
        ("POST", "/v1/messages/count_tokens", '{"model":"lmx/guide","messages":[{"role":"user","content":"x"}]}'),
        ("POST", "/v1/responses", '{"model":"lmx/guide","input":"x"}'),
        ("POST", "/api/chat", '{"model":"lmx/guide"}'),
        ("POST", "/api/generate", '{"model":"lmx/guide","keep_alive":0}'),
        ("POST", "/api/show", '{"model":"lmx/guide"}'),
        ("POST", "/api/pull", '{"model":"org/x"}'),
        ("DELETE", "/api/delete", '{"model":"lmx/guide"}'),
        ("POST", "/api/v1/models/load", '{"model":"lmx/guide"}'),
        ("POST", "/api/v1/models/unload", '{"instance_id":"lmx/guide"}'),
    ):  # fmt: skip
        found = statuses(daemon, f"{method} {path} HTTP/1.1", *key, f"Content-Length: {len(body)}", body=body)
        assert found in ([403], [400]), (path, found)
    assert daemon.admin("GET", "/admin/instances") == []
