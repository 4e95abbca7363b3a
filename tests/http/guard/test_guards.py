"""Refusals of the public port on a real socket, with a real daemon and no model."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.end_to_end.running import Daemon

CONFIG = """
[server]
allowed_hosts = ["studio.local"]
allowed_origins = ["https://app.example"]
max_body_bytes = 100000
[engine]
warm_spare = false
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    running = Daemon(config=CONFIG).start()
    yield running
    running.stop()


def raw(daemon: Daemon, data: bytes, seconds: float = 5.0) -> bytes:
    """Return the port's answer to `data`."""
    host, port = daemon.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer and b"connection: close" not in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def status(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


def get(daemon: Daemon, *headers: str, path: str = "/v1/models") -> int:
    lines = "".join(f"{header}\r\n" for header in headers)
    return status(raw(daemon, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()))


def post(daemon: Daemon, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> httpx2.Response:
    headers = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return httpx2.post(daemon.address + path, content=body, headers=headers, timeout=30)


class TestHosts:
    def test_names_of_this_machine_are_accepted(self, daemon: Daemon) -> None:
        port = daemon.address.rpartition(":")[2]
        for name in ("127.0.0.1", "localhost", f"localhost:{port}", f"[::1]:{port}", "studio.local"):
            assert get(daemon, f"Host: {name}") == 200, name

    @pytest.mark.parametrize(
        "name", ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com", "localhost:1", "", "null"]
    )
    def test_other_hosts_are_refused(self, daemon: Daemon, name: str) -> None:
        assert get(daemon, f"Host: {name}") == 421

    def test_missing_and_repeated_host_headers_are_refused(self, daemon: Daemon) -> None:
        assert status(raw(daemon, b"GET /v1/models HTTP/1.0\r\n\r\n")) == 421
        assert get(daemon, "Host: localhost", "Host: localhost") in (400, 421)


class TestOrigins:
    def test_unlisted_origins_are_refused(self, daemon: Daemon) -> None:
        for origin in ("https://evil.example", "null", "http://localhost:3000", "https://app.example.evil.com"):
            assert get(daemon, "Host: localhost", f"Origin: {origin}") == 403, origin

    def test_listed_origin_and_its_preflight_are_accepted(self, daemon: Daemon) -> None:
        asked = httpx2.options(
            daemon.address + "/v1/chat/completions",
            headers={"origin": "https://app.example", "access-control-request-method": "POST"},
        )
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == "https://app.example"

    def test_errors_for_a_listed_origin_have_cors_headers(self, daemon: Daemon) -> None:
        for answer in (
            post(daemon, b"{}", origin="https://app.example"),
            post(daemon, b"{}", origin="https://app.example", content_type="text/plain"),
        ):
            assert answer.status_code in (400, 415)
            assert answer.headers["access-control-allow-origin"] == "https://app.example"

    def test_other_origins_get_no_cors_headers(self, daemon: Daemon) -> None:
        assert "access-control-allow-origin" not in httpx2.get(daemon.address + "/v1/models").headers


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b'{"model": "\xff"}',
            b"[" * 200_00 + b"]" * 200_00,
            b'{"model": "m", "messages": [], "temperature": NaN}',
            b'{"model": 5, "messages": []}',
            b'{"model": "m"}',
            b'{"model": "m", "messages": []}',
            b'{"model": "m", "messages": "hello"}',
            b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "sound"}]}]}',
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stop": [""]}',
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}',
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 99}',
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"a": 1}}',
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "repetition_penalty": 1e-40}',
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "top_k": 1.5}',
            b'{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"xml"}}',
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "chat_template": "{{ x }}",'
            b' "chat_template_kwargs": {"messages": 1}}',
            b'{"model":"m","messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"reasoning_effort":[]}}',
            b'{"model":"m","messages":[{"role":"user","content":"x"}],"user":"' + b"u" * 600 + b'"}',
        ],
    )
    def test_bad_bodies_are_400_in_the_form_of_openai(self, daemon: Daemon, body: bytes) -> None:
        answer = post(daemon, body)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error" and error["message"]

    def test_error_names_the_field(self, daemon: Daemon) -> None:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "user"}]})
        assert post(daemon, body.encode()).json()["error"]["param"] == "messages[1].content"

    def test_lone_surrogate_is_refused_by_name(self, daemon: Daemon) -> None:
        body = rb'{"model": "m", "messages": [{"role": "user", "content": "cut: \ud83d"}]}'
        assert "half a character" in post(daemon, body).json()["error"]["hint"]

    def test_large_body_is_refused_with_and_without_content_length(self, daemon: Daemon) -> None:
        assert post(daemon, b" " * 200_000).status_code == 413
        chunked = httpx2.post(
            daemon.address + "/v1/chat/completions",
            content=(b" " * 50_000 for _ in range(5)),
            headers={"content-type": "application/json"},
        )
        assert chunked.status_code == 413

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    def test_content_types_of_html_forms_are_refused(self, daemon: Daemon, kind: str) -> None:
        assert post(daemon, b"{}", content_type=kind).status_code == 415

    @pytest.mark.parametrize(
        ("path", "code"), [("/v1/responses/none/cancel", 404), ("/v1/nothing", 404), ("/v1/chat/completions", 400)]
    )
    @pytest.mark.parametrize("length", ["", "Content-Length: 0\r\n"])
    def test_request_without_a_body_needs_no_content_type(
        self, daemon: Daemon, path: str, code: int, length: str
    ) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}\r\n"
        assert status(raw(daemon, head.encode())) == code

    def test_body_without_a_content_type_is_refused(self, daemon: Daemon) -> None:
        for framed in (b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"):
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            assert status(raw(daemon, head + framed)) == 415

    def test_endless_header_is_refused(self, daemon: Daemon) -> None:
        answer = raw(daemon, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 300_000)
        assert status(answer) in (0, 400, 431)


class TestHeads:
    @pytest.mark.parametrize(
        "head",
        [
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000,
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X: 12345\r\n" * 20_000,
            b"GET /v1/models?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost",
        ],
        ids=["one long header", "many short ones", "a long address"],
    )
    def test_large_head_in_one_packet_is_refused(self, daemon: Daemon, head: bytes) -> None:
        assert status(raw(daemon, head + b"\r\nConnection: close\r\n\r\n")) == 431
        assert get(daemon, "Host: localhost") == 200

    def test_limit_applies_to_each_head_of_a_connection(self, daemon: Daemon) -> None:
        with httpx2.Client() as client:  # one connection
            for _ in range(3):
                assert client.get(f"{daemon.address}/v1/models", headers={"x": "a" * 40_000}).status_code == 200

    def test_pipelined_head_is_not_served(self, daemon: Daemon) -> None:
        answer = raw(daemon, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        assert answer.count(b"HTTP/1.1 200") == 1 and b"connection: close" in answer

    def test_trailers_count_towards_the_limit(self, daemon: Daemon) -> None:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: 12345\r\n" * 20_000
        assert status(raw(daemon, chunked)) in (0, 431)
        assert get(daemon, "Host: localhost") == 200

    @pytest.mark.parametrize(("kind", "answers"), [("application/json", [431]), ("text/plain", [415])])
    def test_endless_trailer_gets_one_answer(self, daemon: Daemon, kind: str, answers: list[int]) -> None:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        host, port = daemon.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
            time.sleep(0.1)
            connection.sendall(b"0\r\nX: " + b"a" * 66_000)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    received += part
        assert [int(line.split()[1]) for line in received.splitlines() if line.startswith(b"HTTP/1.1 ")] == answers


class TestRoutes:
    @pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/models/lmx/guide"])
    def test_head_request_equals_get_without_its_body(self, daemon: Daemon, path: str) -> None:
        answer = httpx2.head(daemon.address + path)
        assert answer.status_code == 200 and answer.content == b""
        assert int(answer.headers["content-length"]) == len(httpx2.get(daemon.address + path).content)

    def test_unknown_routes_are_404(self, daemon: Daemon) -> None:
        code, body = daemon.get("/v1/nothing")
        assert code == 404 and body["error"]["code"] == "not_found"
        code, body = daemon.get("/api/v9/things")
        assert code == 404 and body == {"error": "Unexpected endpoint or method. (GET /api/v9/things)"}

    def test_admin_routes_are_not_served_on_the_public_port(self, daemon: Daemon) -> None:
        for path in ("/admin/status", "/admin/health", "/admin/logs"):
            assert daemon.get(path)[0] == 404

    def test_openai_routes_are_not_served_on_the_admin_socket(self, daemon: Daemon) -> None:
        assert daemon.admin("GET", "/v1/models")["code"] == "not_found"

    def test_request_id_of_the_client_is_kept_and_a_missing_one_is_made(self, daemon: Daemon) -> None:
        assert len(httpx2.get(daemon.address + "/health").headers["x-request-id"]) == 32
        kept = httpx2.get(daemon.address + "/health", headers={"x-request-id": "my-id.1"})
        assert kept.headers["x-request-id"] == "my-id.1"
        changed = httpx2.get(daemon.address + "/health", headers={"x-request-id": "x" * 99})
        assert len(changed.headers["x-request-id"]) == 32

    def test_other_protocol_version_is_refused_on_the_admin_socket(self, daemon: Daemon) -> None:
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(daemon.home / "lmx.sock")), base_url="http://lmx"
        ) as client:
            answer = client.get("/admin/status", headers={"x-lmx-protocol": "999"})
        assert answer.status_code == 426 and "lmx stop" in answer.json()["hint"]


def test_key_is_accepted_in_either_header_and_health_needs_none() -> None:
    daemon = Daemon(environment={"LMX_API_KEY": "sésame"}, config="[engine]\nwarm_spare = false\n").start()
    try:
        url, key = daemon.address + "/v1/models", "sésame".encode()
        refused = httpx2.get(url)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert httpx2.get(url, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert httpx2.get(url, headers={b"authorization": b"Bearer " + key}).status_code == 200
        assert httpx2.get(url, headers={b"x-api-key": key}).status_code == 200
        assert httpx2.get(daemon.address + "/health").status_code == 200
        assert httpx2.get(url, headers={b"x-api-key": key[:-1]}).status_code == 401
        assert key not in (daemon.home / "logs" / "daemon.log").read_bytes()
    finally:
        daemon.stop()


def test_foreign_text_cannot_forge_or_control_a_log_line(daemon: Daemon) -> None:
    forged = "2031-01-01 00:00:00,000 INFO lmx.daemon forged"
    with socket.create_connection(
        (daemon.address.split("/")[2].split(":")[0], int(daemon.address.rsplit(":")[-1]))
    ) as c:
        body = json.dumps({"model": "lmx/guide", "user": f"\x1b[2J\n{forged}\u202e\u2028", "max_tokens": 1,
                           "messages": [{"role": "user", "content": "hi"}]}).encode()  # fmt: skip
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        c.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        while c.recv(65536):
            pass
    httpx2.post(
        f"{daemon.address}/v1/chat/completions",
        headers={b"user-agent": b"\x9b2J\x9d0;title\x9c", b"content-type": b"application/json"},
        content=json.dumps({"model": "lmx/guide", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}),
        timeout=30,
    )
    lines = (daemon.home / "logs" / "daemon.log").read_text(encoding="utf-8").splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    assert not any(line.startswith(("2031", '{"time":"2031')) for line in lines)
    assert any("\\x9b2J\\x9d0;title\\x9c:" in message for message in messages)
    assert all(line.isprintable() for line in (*lines, *messages))
