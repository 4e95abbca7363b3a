"""API keys on real daemons: made, used, limited and revoked by the command line, with and without a daemon."""

import json
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.end_to_end.conftest import TALKER
from tests.end_to_end.running import Daemon

ASKED = {"model": "lmx/guide", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}
CONFIG = "[engine]\nwarm_spare = false\n[server]\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    running = Daemon(config=f"{CONFIG}require_key = true\n").start()
    yield running
    assert running.stop() == 0


def create(daemon: Daemon, *options: str) -> tuple[str, str]:
    """Return id and secret of a new key."""
    made = json.loads(daemon.lmx("key", "create", "a key", "--json", *options).stdout)
    return made["key"]["id"], made["secret"]


def post(daemon: Daemon, secret: str, path: str = "/v1/chat/completions", **fields: Any) -> httpx2.Response:
    return httpx2.post(daemon.address + path, json=ASKED | fields, headers={"x-api-key": secret}, timeout=60)


def until(status: int, daemon: Daemon, secret: str) -> httpx2.Response:
    """Return the first answer to repeated requests that has `status`."""
    deadline = time.monotonic() + 30
    while (answer := post(daemon, secret)).status_code != status:
        assert time.monotonic() < deadline, answer.text
    return answer


def models(daemon: Daemon, secret: str = "") -> int:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx2.get(f"{daemon.address}/v1/models", headers=headers).status_code


def test_key_answers_requests_until_it_is_revoked_and_the_record_names_it(daemon: Daemon) -> None:
    identity, secret = create(daemon)
    assert models(daemon) == models(daemon, "lmx") == 401 and models(daemon, secret) == 200
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
        assert post(daemon, secret, path).status_code == 200
    (row,) = [row for row in json.loads(daemon.lmx("key", "list", "--json").stdout) if row["id"] == identity]
    assert row["used_at"] > time.time() - 60 and "hash" not in row and secret not in str(row)
    tenants: set[str] = set()
    while f"key:{identity}" not in tenants:
        rows = json.loads(daemon.lmx("requests", "--json").stdout)
        tenants = {row["tenant"] for row in rows}
    assert daemon.lmx("key", "revoke", identity).returncode == 0
    assert models(daemon, secret) == post(daemon, secret).status_code == 401
    gone = daemon.lmx("key", "revoke", identity)
    assert gone.returncode == 1 and "lmx key list" in gone.stderr
    log = (daemon.home / "logs" / "daemon.log").read_text()
    assert secret not in log and identity in log


def test_limits_of_a_key_hold_on_the_real_port(daemon: Daemon) -> None:
    _, narrow = create(daemon, "--scope", "infer", "--model", "org/*", "--expires", "1d")
    refused = post(daemon, narrow)
    assert refused.status_code == 404 and "lmx/guide" in refused.json()["error"]["message"]
    metrics = httpx2.get(f"{daemon.address}/metrics", headers={"x-api-key": narrow})
    assert metrics.status_code == 403 and "'read'" in metrics.text
    _, slow = create(daemon, "--rate", "1", "--scope", "infer,read")
    assert post(daemon, slow).status_code == 200
    refused = post(daemon, slow)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert httpx2.get(f"{daemon.address}/metrics", headers={"x-api-key": slow}).status_code == 200
    _, single = create(daemon, "--concurrency", "1")
    host, port = daemon.address.removeprefix("http://").split(":")
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {single}\r\nContent-Length: 9\r\n"
    with socket.create_connection((host, int(port))) as unfinished:
        unfinished.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        assert until(429, daemon, single).headers["retry-after"] == "1"
    until(200, daemon, single)
    _, short = create(daemon, "--expires", "1s")
    time.sleep(1.1)
    expired = httpx2.get(f"{daemon.address}/v1/models", headers={"x-api-key": short})
    assert expired.status_code == 401 and "expired" in expired.text


def test_lists_and_routes_have_only_the_models_of_the_key(own_daemon: Daemon) -> None:
    own_daemon.config = f'{CONFIG}require_key = true\n[router.aliases]\nfirst = ["{TALKER}", "lmx/guide"]\n'
    own_daemon.config += f'hidden = "{TALKER}"\n'
    own_daemon.start()
    _, narrow = create(own_daemon, "--model", "lmx/*", "--scope", "infer,manage,pull")
    _, broad = create(own_daemon)
    assert own_daemon.lmx("load", TALKER).returncode == 0 and post(own_daemon, broad).status_code == 200

    def names(path: str, secret: str) -> str:
        return httpx2.get(own_daemon.address + path, headers={"x-api-key": secret}, timeout=30).text

    for path in ("/v1/models", "/api/v0/models", "/api/v1/models", "/api/tags", "/api/ps"):
        assert TALKER in names(path, broad) and "lmx/guide" in names(path, broad), path
        assert TALKER not in names(path, narrow) and "lmx/guide" in names(path, narrow), path
        assert "hidden" not in names(path, narrow), path
    first = post(own_daemon, narrow, model="first")
    assert first.status_code == 200 and first.headers["x-lmx-model"] == "lmx/guide"
    for model in (TALKER, "talker", "hidden", "tests/none"):
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/api/show"):
            refused = post(own_daemon, narrow, path, model=model)
            assert refused.status_code == 404 and "that this API key may use" in refused.text, (path, refused.text)
    for path, fields in (
        ("/api/v1/models/load", {"model": TALKER}),
        ("/api/v1/models/unload", {"instance_id": TALKER}),
        ("/api/v1/models/download", {"model": TALKER}),
        ("/api/pull", {"model": "org/other"}),
        ("/api/copy", {"source": TALKER, "destination": "mine"}),
        ("/api/copy", {"source": "lmx/guide", "destination": "hidden"}),
    ):
        answer = httpx2.post(own_daemon.address + path, json=fields, headers={"x-api-key": narrow}, timeout=30)
        assert answer.status_code == 404, (path, answer.text)
    for name in (TALKER, "hidden"):
        gone = httpx2.request(
            "DELETE",
            f"{own_daemon.address}/api/delete",
            json={"model": name},
            headers={"x-api-key": narrow},
            timeout=30,
        )
        assert gone.status_code == 404, gone.text
    assert httpx2.get(f"{own_daemon.address}/v1/models/{TALKER}", headers={"x-api-key": narrow}).status_code == 404
    assert TALKER in names("/api/ps", broad)


def test_options_that_are_wrong_are_refused_with_a_hint(daemon: Daemon) -> None:
    for options in (("--expires", "soon"), ("--scope", "all"), ("--priority", "high"), ("--priority=-10:10",)):
        refused = daemon.lmx("key", "create", "x", *options)
        assert refused.returncode == 2 and "hint:" in refused.stderr, options


def test_exposed_daemon_needs_a_key_that_the_command_makes_without_a_daemon() -> None:
    daemon = Daemon(config=f'{CONFIG}host = "0.0.0.0"\n')
    daemon.home.mkdir(exist_ok=True)
    (daemon.home / "config.toml").write_text(daemon.config)
    refused = daemon.lmx("serve", "--port", "0")
    assert refused.returncode == 1 and "lmx key create" in refused.stderr
    identity, secret = create(daemon)
    assert stat.S_IMODE((daemon.home / "keys.json").stat().st_mode) == 0o600
    daemon.start()
    try:
        daemon.address = daemon.address.replace("0.0.0.0", "127.0.0.1")
        assert models(daemon, secret) == 200 and models(daemon) == 401
        assert daemon.lmx("key", "revoke", identity).returncode == 0
        assert models(daemon, secret) == models(daemon) == 401
    finally:
        assert daemon.stop() == 0


def test_damaged_file_makes_no_key_valid_and_opens_nothing() -> None:
    first = Daemon(config=f"{CONFIG}require_key = true\n").start()
    _, secret = create(first)
    kept = first.home.with_name(first.home.name + "-b")
    kept.mkdir(mode=0o700)
    try:
        (kept / "keys.json").write_bytes((first.home / "keys.json").read_bytes()[:-3])
        assert first.stop() == 0
        second = Daemon(config=first.config, home=kept).start()
        try:
            assert models(second, secret) == models(second) == 401
            assert len(list(kept.glob("keys.json.unreadable-*"))) == 1
            assert "no API key is valid" in (kept / "logs" / "daemon.log").read_text()
            assert models(second, create(second)[1]) == 200
        finally:
            assert second.stop() == 0
    finally:
        shutil.rmtree(kept, ignore_errors=True)
