"""Programs of this machine that use the public port: with a required key, and beside TLS."""

import json
import stat
from pathlib import Path

import httpx2

from tests.certificates import Authority
from tests.end_to_end.running import Daemon

BASE = "[engine]\nwarm_spare = false\n[server]\n"
QUICK = ("--run", "sweep", "--rounds", "1", "--answer", "4", "--prompt", "16", "--streams", "1", "--no-keep")


def test_demo_and_bench_make_one_key_where_a_key_is_required(own_daemon: Daemon) -> None:
    own_daemon.config = f"{BASE}require_key = true\n"
    own_daemon.start()
    assert httpx2.get(f"{own_daemon.address}/v1/models").status_code == 401
    assert "API key required" in own_daemon.lmx("status").stdout
    shown = own_daemon.lmx("demo", "What is lmx?")
    assert shown.returncode == 0 and "lmx key create" in shown.stdout, shown.stderr
    measured = own_daemon.lmx("bench", "--model", "lmx/guide", *QUICK, timeout=180)
    assert measured.returncode == 0, measured.stderr
    (key,) = json.loads(own_daemon.lmx("key", "list", "--json").stdout)
    assert key["scopes"] == ["infer", "read"] and key["name"] == "lmx on this machine"
    file = own_daemon.home / "launch" / "key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert own_daemon.lmx("key", "revoke", key["id"]).returncode == 0
    assert own_daemon.lmx("demo", "What is lmx?").returncode == 0, "a revoked key is replaced"
    (other,) = json.loads(own_daemon.lmx("key", "list", "--json").stdout)
    assert other["id"] != key["id"] and other["id"] in file.read_text()


def test_port_without_tls_serves_this_machine_beside_tls(own_daemon: Daemon, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    tls = f'{BASE}host = "0.0.0.0"\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    own_daemon.environment["LMX_API_KEY"] = "first"
    own_daemon.config = tls
    own_daemon.start()
    refused = own_daemon.lmx("demo", "What is lmx?")
    assert refused.returncode == 1 and "server.plain_port" in refused.stderr
    own_daemon.stop()
    own_daemon.config = f"{tls}plain_port = 0\n"
    own_daemon.start()
    status = own_daemon.admin("GET", "/admin/status")
    assert status["address"].startswith("http://127.0.0.1:")
    (secure,) = [each for each in status["other_addresses"] if each.startswith("https:")]
    url, key_header = status["address"], {"x-api-key": "first"}
    assert httpx2.get(f"{url}/v1/models").status_code == 401
    assert httpx2.get(f"{url}/v1/models", headers=key_header).status_code == 200
    secure = secure.replace("0.0.0.0", "127.0.0.1")
    assert httpx2.get(f"{secure}/v1/models", headers=key_header, verify=authority.context()).status_code == 200
    assert own_daemon.lmx("demo", "What is lmx?").returncode == 0
