"""The public port of a real daemon with TLS."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.certificates import Authority
from tests.end_to_end.running import Daemon, wait_until

ASKED = {"model": "lmx/guide", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}], "stream": True}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def daemon(authority: Authority) -> Iterator[Daemon]:
    certificate, key = authority.issue(days=10)
    config = f'[engine]\nwarm_spare = false\n[server]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    running = Daemon(config=f"{config}max_connections = 8\nrequire_key = true\n").start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(daemon: Daemon, authority: Authority) -> Iterator[httpx2.Client]:
    secret = json.loads(daemon.lmx("key", "create", "x", "--json").stdout)["secret"]
    with httpx2.Client(
        base_url=daemon.address, verify=authority.context(), headers={"x-api-key": secret}, timeout=60
    ) as made:
        yield made


def port_of(daemon: Daemon) -> int:
    return int(daemon.address.rpartition(":")[2])


def test_answers_and_streams_arrive_over_https(daemon: Daemon, client: httpx2.Client) -> None:
    assert daemon.address.startswith("https://127.0.0.1:")
    assert "lmx/guide" in client.get("/v1/models").text
    with client.stream("POST", "/v1/chat/completions", json=ASKED) as answer:
        assert answer.status_code == 200 and "data: [DONE]" in list(answer.iter_lines())
    large = {"model": "lmx/guide", "messages": [{"role": "user", "content": "x" * 3_000_000}]}
    assert client.post("/v1/chat/completions", json=large).status_code == 400
    with pytest.raises(httpx2.ConnectError):  # the certificate is not trusted by the system
        httpx2.get(f"{daemon.address}/health")
    assert httpx2.get(f"{daemon.address}/v1/models", verify=unverified()).status_code == 401


def unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_plain_http_is_no_way_in(daemon: Daemon, client: httpx2.Client) -> None:
    with socket.create_connection(("127.0.0.1", port_of(daemon)), 30) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/1.1" not in plain.recv(4096)
    assert client.get("/health").status_code == 200


def test_connections_without_a_handshake_do_not_keep_others_out(daemon: Daemon, client: httpx2.Client) -> None:
    with contextlib.ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection(("127.0.0.1", port_of(daemon)), 30)) for _ in range(40)]
        for each in silent[::2]:
            each.sendall(b"\x16\x03\x01")
        fresh = httpx2.get(f"{daemon.address}/health", verify=unverified(), timeout=60)
        assert fresh.status_code == 200
        with contextlib.suppress(ConnectionError):  # the oldest one has made room
            assert silent[0].recv(1) == b""


def test_status_and_doctor_state_the_expiry(daemon: Daemon) -> None:
    shown = daemon.lmx("status").stdout
    assert "API key required" in shown and "expires in" in shown and "renew it" in shown
    checks = json.loads(daemon.lmx("doctor", "--json").stdout)["checks"]
    (check,) = [check for check in checks if check["name"] == "certificate"]
    assert check["state"] == "warning" and "expires in" in check["message"]


def test_daemon_with_a_faulty_pair_does_not_start_and_names_the_fault(authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.issue("first")
    _, key = authority.issue("second")
    broken = Daemon()
    (broken.home / "config.toml").write_text(
        f'[server]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\nport = 0\n'
    )
    ended = subprocess.run(
        [sys.executable, "-m", "lmx_daemon"], env=broken.env(), capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1 and f"{key} is not the key of {certificate}" in ended.stderr, ended.stderr
    assert "hint:" in ended.stderr and "Traceback" not in ended.stderr
    wait_until(lambda: not (broken.home / "lmx.sock").exists(), 30, "no socket is left")
