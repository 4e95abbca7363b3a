"""The daemon managed over its public port: by whom, over what, and with which commands."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.certificates import Authority
from tests.end_to_end.running import LMX, Daemon, short_home, wait_until
from tests.pty_harness import Terminal

BASE = "[engine]\nwarm_spare = false\n[server]\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def daemon(authority: Authority) -> Iterator[Daemon]:
    certificate, key = authority.issue()
    running = Daemon(
        config=f'{BASE}tls_certificate = "{certificate}"\ntls_key = "{key}"\nadmin_over_tcp = "tls"\n',
        arguments=["--host", "0.0.0.0"],
        environment={"LMX_API_KEY": "first"},
    ).start()
    running.address = running.address.replace("0.0.0.0", "127.0.0.1")
    yield running
    assert running.stop() == 0


def key_of(daemon: Daemon, *options: str) -> str:
    secret: str = json.loads(daemon.lmx("key", "create", "remote", "--json", *options).stdout)["secret"]
    return secret


@pytest.fixture(scope="module")
def manager(daemon: Daemon) -> str:
    return key_of(daemon, "--scope", "manage,infer")


def lmx(
    daemon: Daemon, authority: Authority, key: str, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command of another machine, whose home is empty, against the daemon."""
    env = {**os.environ, "LMX_HOME": str(short_home()), "LMX_API_KEY": key, **environment}
    options = ["--host", daemon.address, "--ca", str(authority.file)]
    return subprocess.run([*LMX, *options, *arguments], env=env, capture_output=True, text=True, timeout=120)


def ask(daemon: Daemon, authority: Authority, method: str, path: str, **headers: str) -> httpx2.Response:
    with httpx2.Client(verify=authority.context(), timeout=60) as client:
        return client.request(method, daemon.address + path, headers=headers)


def test_only_an_unlimited_key_that_may_manage_is_let_in(daemon: Daemon, authority: Authority, manager: str) -> None:
    reader = key_of(daemon, "--scope", "infer,read,pull")
    limited = key_of(daemon, "--scope", "manage", "--model", "org/*")
    for headers, status in (
        ({}, 401),
        ({"x-api-key": "lmx"}, 401),
        ({"x-api-key": manager[:-1] + "!"}, 401),
        ({"x-api-key": reader}, 403),
        ({"x-api-key": limited}, 403),
        ({"x-api-key": manager, "x-lmx-protocol": "999"}, 426),
        ({"x-api-key": manager, "host": "evil.example"}, 421),
        ({"x-api-key": manager, "origin": "https://evil.example"}, 403),
        ({"x-api-key": manager}, 200),
        ({"authorization": f"bearer {manager}"}, 200),
        ({"x-api-key": "first"}, 200),
    ):
        answer = ask(daemon, authority, "GET", "/admin/status", **headers)
        assert answer.status_code == status, (headers, answer.text)
        assert ("code" in answer.json()) == (status != 200)
    for path in ("/admin", "/admin/", "/admin/nothing", "/admin/../v1/models"):
        answer = ask(daemon, authority, "GET", path, **{"x-api-key": reader})
        assert answer.status_code == 403 or path.endswith("models"), (path, answer.text)
    for method, path in (
        ("HEAD", "/admin/watch"), ("OPTIONS", "/admin/status"), ("GET", "//admin/status"), ("GET", "/ADMIN/status"),
        ("GET", "/v1/../admin/status"), ("GET", "/%2e/admin/status"), ("GET", f"/admin/status?api_key={manager}"),
    ):  # fmt: skip
        answer = ask(daemon, authority, method, path)
        assert answer.status_code in (401, 404), (method, path, answer.status_code)


def test_commands_of_another_machine_manage_the_daemon(daemon: Daemon, authority: Authority, manager: str) -> None:
    def run(*arguments: str) -> str:
        ended = lmx(daemon, authority, manager, *arguments)
        assert ended.returncode == 0, (arguments, ended.stderr)
        return ended.stdout

    assert "lmx/guide" in run("ls")
    assert "is ready" in run("load", "lmx/guide")
    assert "lmx/guide" in run("ps")
    assert "API key required" in run("status") and str(daemon.home) in run("status")
    assert run("chat", "-p", "hello").strip()
    assert "server.max_queued" in run("config", "list") and run("config", "set", "server.max_queued", "99")
    assert json.loads(run("config", "get", "server.max_queued")) == 99
    assert "max_queued = 99" in (daemon.home / "config.toml").read_text()
    assert run("config", "path").strip() == str(daemon.home / "config.toml")
    assert "serves at" in run("logs", "--grep", "serves at")
    assert json.loads(run("key", "list", "--json"))
    rows = json.loads(daemon.lmx("requests", "--json").stdout)
    assert rows and all(row["tenant"].startswith("key:") for row in rows), "the body names no tenant"
    assert "unloaded" in run("unload", "--all")


def test_tui_shows_the_daemon_of_another_machine_and_starts_none(
    daemon: Daemon, authority: Authority, manager: str
) -> None:
    home = short_home()
    command = [*LMX, "--host", daemon.address, "--ca", str(authority.file), "tui"]
    with Terminal(command, size=(120, 40), environment={"LMX_HOME": str(home), "LMX_API_KEY": manager}) as terminal:
        terminal.until(lambda text: "lmx/guide" in text, 60)
        terminal.type(b"\x11")
        assert terminal.wait(30) == 0
    assert not (home / "lmx.sock").exists()


def test_what_works_locally_only_is_refused(daemon: Daemon, authority: Authority, manager: str) -> None:
    for arguments in (("serve",), ("service", "status"), ("restart",), ("login",), ("doctor",), ("config", "edit")):
        ended = lmx(daemon, authority, manager, *arguments)
        assert ended.returncode == 2 and "works on this machine only" in ended.stderr, (arguments, ended.stderr)


def test_faults_of_the_connection_are_readable(daemon: Daemon, authority: Authority, manager: str) -> None:
    missing = lmx(daemon, authority, "", "ps")
    assert missing.returncode == 1 and "API key" in missing.stderr
    options = {"LMX_HOST": daemon.address, "LMX_HOME": str(short_home()), "LMX_API_KEY": manager}
    ended = subprocess.run([*LMX, "ps"], env={**os.environ, **options}, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "is not trusted" in ended.stderr and "--ca FILE" in ended.stderr
    for host, words, code in (
        (daemon.address.replace("https", "http"), "cannot be reached", 1),
        ("https://127.0.0.1:1", "cannot be reached", 1),
        ("ftp://x", "is no URL of a daemon", 2),
    ):
        ended = lmx(daemon, authority, manager, "--host", host, "ps")
        assert ended.returncode == code and words in ended.stderr and "hint:" in ended.stderr, ended.stderr


@pytest.mark.parametrize(
    ("setting", "host", "statuses"),
    [
        ("off", "127.0.0.1", (404, 404)),
        ("tls", "127.0.0.1", (401, 200)),
        ("tls", "0.0.0.0", (403, 403)),
        ("unencrypted", "0.0.0.0", (401, 200)),
    ],
)
def test_without_tls_the_setting_decides(setting: str, host: str, statuses: tuple[int, int]) -> None:
    plain = Daemon(
        config=f'{BASE}admin_over_tcp = "{setting}"\nhost = "{host}"\n', environment={"LMX_API_KEY": "first"}
    ).start()
    try:
        url = plain.address.replace("0.0.0.0", "127.0.0.1") + "/admin/status"
        answers = [httpx2.get(url), httpx2.get(url, headers={"x-api-key": "first"})]
        assert tuple(answer.status_code for answer in answers) == statuses
        assert all("code" in answer.json() for answer in answers if answer.status_code != 200)
    finally:
        assert plain.stop() == 0


def test_watch_streams_and_generate_acts_for_the_key(daemon: Daemon, authority: Authority, manager: str) -> None:
    prompt = {"type": "text", "text": "hello"}
    body: dict[str, Any] = {"type": "generate", "id": "r1", "model": "lmx/guide", "prompt": prompt, "max_tokens": 4}
    body |= {"tenant": "local", "priority": 10, "route": "/v1/forged"}
    with httpx2.Client(verify=authority.context(), headers={"x-api-key": manager}, timeout=60) as client:
        with client.stream("GET", f"{daemon.address}/admin/watch?every=0.25") as watch:
            lines = watch.iter_lines()
            assert all("taken_at" in json.loads(next(lines)) for _ in range(3))
        answer = client.post(f"{daemon.address}/admin/generate", json=body)
        assert answer.status_code == 200 and '"type":"finished"' in answer.text
        head = client.post(f"{daemon.address}/admin/generate", content=b"{}", headers={"content-type": "text/plain"})
        assert head.status_code == 415 and head.json()["code"] == "unsupported_media_type"

    def record() -> Any:
        return next((row for row in json.loads(daemon.lmx("requests", "--json").stdout) if row["id"] == "r1"), None)

    wait_until(record, 30, "the request is recorded")
    found = record()
    assert found["tenant"].startswith("key:") and found.get("route", "") == ""
