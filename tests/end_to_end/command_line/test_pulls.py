"""`lmx pull`, `lmx downloads` and `lmx login` with a real daemon and a stand-in Hub, including Ctrl-C and kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.running import LMX, Daemon, wait_until
from tests.library.conftest import REPO, StandIn
from tests.library.conftest import hub as hub
from tests.library.conftest import hub_process as hub_process
from tests.models import build_model

TALKER = "maker/talker"
SLOW = 1_500_000


@pytest.fixture(scope="module")
def home(hub_process: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Return a daemon that uses the stand-in Hub."""
    folder = tmp_path_factory.mktemp("pulls")
    environment = {
        "HF_ENDPOINT": hub_process.endpoint,
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "home"),
    }
    config = "[library]\nreserve_bytes = 0\n[engine]\nwarm_spare = false\n"
    running = Daemon(environment=environment, config=config)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def daemon(home: Daemon, hub: StandIn) -> Iterator[Daemon]:
    yield home
    hub.faults()
    for pull in downloads(home):
        if pull["state"] not in ("done", "cancelled"):
            home.admin("POST", f"/admin/pulls/{pull['id']}/cancel")
    home.admin("POST", "/admin/pulls/clear")
    shutil.rmtree(home.environment["HF_HUB_CACHE"], ignore_errors=True)


def downloads(home: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = home.admin("GET", "/admin/pulls")
    return found


def states(home: Daemon) -> dict[str, str]:
    return {pull["repo"]: pull["state"] for pull in downloads(home)}


def started_pull(daemon: Daemon, *arguments: str) -> "subprocess.Popen[str]":
    """Return the process of a pull that has received its first bytes."""
    process = subprocess.Popen(
        [*LMX, "pull", *arguments, "--json"],
        env=daemon.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["done"] > 300_000:
            return process
    raise AssertionError(process.communicate()[1])


def test_pull_reports_its_files(daemon: Daemon, hub: StandIn) -> None:
    ended = daemon.lmx("pull", f"{hub.endpoint}/{REPO}/tree/main")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{REPO} is complete: 4 files, 3.2 MB, each verified by its hash")
    assert "left out 1 files that a model does not need: training_args.bin" in ended.stderr
    quiet = daemon.lmx("pull", REPO, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_include_and_exclude_patterns(daemon: Daemon) -> None:
    ended = daemon.lmx("pull", REPO, "--include", "*.json", "--include", "*.md", "--exclude", "tok*")
    assert ended.stdout.startswith(f"{REPO} is complete: 2 files")


def test_errors_have_hints(daemon: Daemon) -> None:
    ended = daemon.lmx("pull", "maker/nothing")
    assert ended.returncode == 1 and "error: the Hub has no model maker/nothing" in ended.stderr
    assert "hint:" in ended.stderr
    daemon.environment["HF_HUB_OFFLINE"] = "1"
    ended = daemon.lmx("pull", REPO)
    del daemon.environment["HF_HUB_OFFLINE"]
    assert ended.returncode == 1 and "HF_HUB_OFFLINE" in ended.stderr


def test_hub_of_the_shell_is_used_for_every_command(daemon: Daemon, hub: StandIn) -> None:
    assert daemon.lmx("pull", REPO).returncode == 0
    usual, daemon.environment["HF_ENDPOINT"] = daemon.environment["HF_ENDPOINT"], "http://127.0.0.1:9"
    hub.requests()
    try:
        for question in (["search", "never asked"], ["outdated"], ["update", REPO, "--yes"], ["pull", REPO]):
            ended = daemon.lmx(*question)
            assert ended.returncode == 1 and "cannot reach http://127.0.0.1:9" in ended.stderr, question
            assert "hint: check the network" in ended.stderr
        assert hub.requests() == []
    finally:
        daemon.environment["HF_ENDPOINT"] = usual
    assert "none is outdated" in daemon.lmx("outdated").stderr


def test_ctrl_c_pauses_and_the_same_command_continues(daemon: Daemon, hub: StandIn) -> None:
    hub.faults(rate=SLOW)
    process = started_pull(daemon, REPO)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and "paused at" in errors and f"continue with: lmx pull {REPO}" in errors
    assert [pull["state"] for pull in downloads(daemon)] == ["paused"]
    hub.faults()
    ended = daemon.lmx("pull", REPO)
    assert ended.returncode == 0 and "of it resumed" in ended.stdout


def test_downloads_commands(daemon: Daemon, hub: StandIn) -> None:
    hub.faults(rate=10_000)
    other = hub.root / "maker" / "other"
    other.mkdir(exist_ok=True)
    (other / "config.json").write_text("{}")
    (other / "model.safetensors").write_bytes(os.urandom(200_000))
    assert "see: lmx downloads" in daemon.lmx("pull", REPO, "--detach").stdout
    daemon.admin("POST", "/admin/pulls", {"repo": "maker/other"})
    assert "queued (1)" in daemon.lmx("downloads").stdout
    assert "is paused" in daemon.lmx("downloads", "pause", REPO).stdout
    daemon.admin("POST", f"/admin/pulls/{downloads(daemon)[0]['id']}/pause")
    moved = json.loads(daemon.lmx("downloads", "move", "maker/other", "--json").stdout)
    assert [(pull["repo"], pull["state"], pull["retries"]) for pull in moved] == [
        ("maker/other", "paused", 0),
        (REPO, "paused", 0),
    ]
    assert "is cancelled" in daemon.lmx("downloads", "cancel", "--yes", REPO).stdout
    assert daemon.lmx("downloads", "pause", "maker/missing").returncode == 1
    hub.faults()
    assert daemon.lmx("downloads", "resume", "maker/other").returncode == 0
    wait_until(lambda: states(daemon).get("maker/other") == "done", 20, "the resumed pull ends")
    assert daemon.lmx("downloads", "clear", "--yes").returncode == 0 and downloads(daemon) == []


def test_rate_limit(daemon: Daemon) -> None:
    assert daemon.lmx("downloads", "limit", "10MB").stdout.startswith("pulls take at most 10.0 MB/s together")
    assert daemon.lmx("downloads", "limit", "fast").returncode == 2
    assert daemon.lmx("downloads", "limit", "off").returncode == 0


def test_pull_survives_its_shell_and_a_killed_daemon(daemon: Daemon, hub: StandIn) -> None:
    hub.faults(rate=SLOW)
    process = started_pull(daemon, REPO)
    process.kill()
    process.communicate()
    assert downloads(daemon)[0]["state"] == "downloading", "the pull continues without its shell"
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait()
    hub.faults()
    daemon.start()
    wait_until(lambda: downloads(daemon)[0]["state"] == "done", 20, "the next daemon continues the pull")
    assert downloads(daemon)[0]["resumed"] > 300_000


def test_login_and_logout(daemon: Daemon, hub: StandIn) -> None:
    hub.faults(gated=True, token="hf_good")
    wrong = daemon.lmx("login", stdin="hf_bad\n")
    assert wrong.returncode == 1 and "does not accept" in wrong.stderr and "hf_bad" not in wrong.stderr
    right = daemon.lmx("login", stdin="hf_good\n")
    assert right.stdout == "logged in as tester\n" and "hf_good" not in right.stderr
    again = daemon.lmx("login", "--json", stdin="hf_good\n")
    assert json.loads(again.stdout) == {"logged_in": True, "name": "tester"}
    kept = Path(daemon.environment["HF_HOME"]) / "token"
    assert kept.read_text() == "hf_good" and kept.stat().st_mode & 0o077 == 0
    assert daemon.lmx("pull", REPO).returncode == 0
    assert json.loads(daemon.lmx("logout", "--json").stdout) == {"logged_in": False} and not kept.exists()
    assert b"hf_good" not in (daemon.home / "logs" / "daemon.log").read_bytes()


INJECTED = {"name": "tester", "auth": {"accessToken": {"displayName": "mine]\nhf_token = hf_theirs\n[other"}}}


@pytest.mark.parametrize("user", [[], {}, {"name": 1}, "tester", {"name": "a\nb"}, INJECTED], ids=str)
def test_login_at_a_hub_with_a_wrong_answer_is_a_clear_error(daemon: Daemon, hub: StandIn, user: Any) -> None:
    hub.faults(whoami=user)
    failed = daemon.lmx("login", stdin="hf_good\n")
    assert failed.returncode == 1 and "does not respond like a Hub" in failed.stderr
    assert "Error" not in failed.stderr and "network" not in failed.stderr
    stored = Path(daemon.environment["HF_HOME"]) / "stored_tokens"
    assert not stored.exists() or ("hf_theirs" not in stored.read_text() and "hf_good" not in stored.read_text())


def test_login_without_a_hub_shows_its_address_without_the_password(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(daemon.environment, "HF_ENDPOINT", "http://user:s3cret@127.0.0.1:9")
    failed = daemon.lmx("login", stdin="hf_good\n")
    assert failed.returncode == 1 and "cannot reach http://127.0.0.1:9: " in failed.stderr
    assert "s3cret" not in failed.stderr and "Error" not in failed.stderr


def test_mlx_lm_loads_a_pulled_model(daemon: Daemon, hub: StandIn) -> None:
    build_model("llama", hub.root / TALKER, ends=False)
    assert daemon.lmx("pull", TALKER).returncode == 0
    (snapshot,) = Path(daemon.environment["HF_HUB_CACHE"]).glob("models--maker--talker/snapshots/*")
    program = "import sys; from mlx_lm import load; model, tokenizer = load(sys.argv[1]); print(type(model).__name__)"
    loaded = subprocess.run(
        [sys.executable, "-c", program, str(snapshot)], env=daemon.env(), capture_output=True, text=True, timeout=120
    )
    assert loaded.stdout == "Model\n", loaded.stderr
    assert TALKER in [model["id"] for model in daemon.admin("GET", "/admin/models")]
