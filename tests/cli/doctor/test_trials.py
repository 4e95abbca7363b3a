"""`lmx doctor --engine` with the real daemon, the real worker and the built-in model."""

import json
import tempfile
from pathlib import Path

import pytest

from lmx_cli.doctor.bare_rates import Burst, bare_rates
from lmx_cli.doctor.trial_answers import TrialAnswer
from lmx_cli.doctor.trial_daemon import trial_daemon
from lmx_cli.doctor.trials import TrialSizes, most_together, try_engine
from lmx_cli.main import run
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.models import GUIDE
from lmx_daemon.settings.paths import Home
from tests.end_to_end.running import alive

SMALL = TrialSizes(prompts=(8, 30, 5, 12), answer=24, long=800, burst_prompt=8, burst_answer=8)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a home whose settings make the prefill of a short prompt take several steps."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    (folder / "config.toml").write_text('[engine]\nprefill_step = 32\n[server]\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("LMX_HOME", str(folder))
    return Home(folder)


async def test_trial_daemon_leaves_no_process_and_no_home(home: Home) -> None:
    with pytest.raises(LmxError, match="the trial failed"):
        async with trial_daemon(home) as client:
            status = await client.status()
            assert status.address.startswith("http://127.0.0.1:") and Path(status.home).is_dir()
            raise LmxError("the trial failed")
    assert not alive(status.pid) and not Path(status.home).exists()
    assert [each.name for each in home.root.iterdir()] == ["config.toml"]


async def test_trial_daemon_that_cannot_start_names_the_reason(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMX_SERVER_DRAIN_SECONDS", "soon")
    with pytest.raises(LmxError, match="LMX_SERVER_DRAIN_SECONDS"):
        async with trial_daemon(home):
            raise AssertionError("the daemon started")


@pytest.mark.timeout(400)
async def test_built_in_model_passes_all_trials_in_a_home_of_its_own(home: Home) -> None:
    lines = list[str]()
    found = {check.name: check for check in await try_engine(home, GUIDE, lines.append, SMALL)}
    assert [name.removeprefix("engine: ") for name in found] == [
        "load", "batch", "cache", "cancel", "long prompt", "speed",
    ]  # fmt: skip
    states = {name: check.state for name, check in found.items()}
    assert states["engine: load"] == states["engine: cache"] == states["engine: cancel"] == "ok", found
    # A warning names a busy machine: few answers at the same time, a long gap, a low speed.
    assert "failed" not in states.values(), found
    assert found["engine: batch"].figures["equal"] == len(SMALL.prompts)
    assert found["engine: cache"].figures["cached_tokens"] > 0.9 * found["engine: cache"].figures["prompt_tokens"]
    assert len(found["engine: speed"].figures) == 4 and min(found["engine: speed"].figures.values()) > 0
    assert "engine: batch (1 of 5)" in lines and lines[-1] == ""
    assert [each.name for each in home.root.iterdir()] == ["config.toml"]


def test_unknown_model_is_a_failed_check_and_ends_with_1(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--engine", "nobody/nothing", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (load,) = [check for check in found["checks"] if check["name"].startswith("engine: ")]
    assert load["name"] == "engine: load" and load["state"] == "failed" and "nobody/nothing" in load["message"]


def test_model_without_engine_is_a_wrong_command_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "lmx/guide"]) == 2
    assert "lmx doctor --engine lmx/guide" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "words"), [("raise SystemExit('no mlx')", "failed: no mlx"), ("import os; os._exit(3)", "exit code 3")]
)
async def test_program_of_mlx_lm_that_fails_is_an_error(program: str, words: str) -> None:
    with pytest.raises(LmxError, match=words):
        await bare_rates(Path(tempfile.gettempdir()), [Burst(((1,),), (1,))], program)


def test_answers_together_are_counted_by_their_times() -> None:
    times = [[1.0, 4.0], [2.0, 3.0], [3.5, 5.0], []]
    assert most_together([TrialAnswer(0.0, times=each) for each in times]) == 2
