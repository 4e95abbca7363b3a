"""`lmx doctor` on this machine, with faults in its home, its port and its engine."""

import json
import socket
import stat
import sys
from pathlib import Path

import pytest

from lmx_cli.doctor.examination import PROBE, engine_facts, file_facts, folder_facts
from lmx_cli.main import run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("LMX_HOME", str(folder))
    return folder


def test_engine_answers_from_a_child_process() -> None:
    found = engine_facts([sys.executable, "-c", PROBE])
    assert found.error == "" and found.mlx and found.mlx_lm and found.device in ("cpu", "gpu")
    assert 0 < found.cap <= found.total


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import no_such_module_of_mlx", "No module named 'no_such_module_of_mlx'"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import time; time.sleep(60)", "did not end within"),
        ("print('x')", "printed no answer"),
        ("", "printed no answer"),
    ],
)
def test_engine_that_fails_is_a_fact(program: str, words: str) -> None:
    seconds = 1.0 if "sleep" in program else 60.0
    assert words in engine_facts([sys.executable, "-c", program], seconds).error


def test_missing_interpreter_is_a_fact(tmp_path: Path) -> None:
    assert "cannot start Python" in engine_facts([str(tmp_path / "python")]).error


def test_missing_folder_has_the_free_space_of_its_disk(tmp_path: Path) -> None:
    found = folder_facts(tmp_path / "a" / "b")
    assert not found.exists and found.free > 0
    assert not file_facts(tmp_path / "a").exists


def test_bad_config_wrong_mode_and_taken_port_are_found(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = home / "report.txt"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (home / "config.toml").write_text(f"[server]\nport = {port}\n")
        home.chmod(0o755)
        assert run(["doctor", "--json", "--report", str(report)]) == 1
    states = {check["name"]: check["state"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert states["port"] == "failed" and states["home"] == "warning" and states["config"] == "ok"
    assert states["daemon"] == "warning" and "Hub" not in states
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert f"server.port = {port}" in report.read_text()
    (home / "config.toml").write_text("[server]\nprot = 1\n")
    assert run(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "✗ config" in shown and "prot" in shown and "! home" in shown
