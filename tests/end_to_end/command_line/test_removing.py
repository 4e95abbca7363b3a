"""Commands that remove something ask on a terminal, and require --yes if stdin is not a terminal."""

import json
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import LMX, Daemon
from tests.library.repositories import make_cached
from tests.models import build_model
from tests.pty_harness import Terminal

MODEL, OTHER = "tests/sound", "tests/other"
REMOVING = [
    ("rm", MODEL),
    ("rm", "--empty"),
    ("rm", "--empty", OTHER),
    ("prune",),
    ("update", MODEL),
    ("downloads", "cancel", OTHER),
    ("downloads", "clear"),
    ("trust", MODEL, "--withdraw"),
]


@pytest.fixture(scope="module")
def stocked_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Path]]:
    """Yield a daemon with two models: one with an old revision, the other in the trash and with a failed pull."""
    root = tmp_path_factory.mktemp("stocked_daemon")
    plain = build_model("llama", root / "plain", ends=False)
    for repo in (MODEL, OTHER):
        snapshot = make_cached(root / "cache", repo)
        shutil.rmtree(snapshot)
        shutil.copytree(plain, snapshot)
    shutil.copytree(plain, root / "cache" / "models--tests--sound" / "snapshots" / ("2" * 40))
    environment = {"HF_HUB_CACHE": str(root / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    daemon = Daemon(environment=environment).start()
    daemon.admin("POST", "/admin/pulls", {"repo": OTHER, "endpoint": "http://127.0.0.1:9"})
    assert daemon.lmx("rm", OTHER, "--yes").returncode == 0
    yield daemon, root
    assert daemon.stop() == 0


def state(daemon: Daemon, root: Path) -> object:
    files = sorted(str(path.relative_to(root)) for path in (root / "cache").rglob("*") if ".locks" not in str(path))
    trash = json.loads(daemon.lmx("rm", "--list", "--json").stdout)
    return files, [row["id"] for row in trash], len(json.loads(daemon.lmx("downloads", "--json").stdout))


@pytest.mark.parametrize("command", REMOVING, ids=" ".join)
def test_removal_without_a_terminal_requires_yes(stocked_daemon: tuple[Daemon, Path], command: tuple[str, ...]) -> None:
    daemon, root = stocked_daemon
    before = state(daemon, root)
    ended = daemon.lmx(*command, stdin="y\n")
    assert ended.returncode == 2 and "error: not confirmed: " in ended.stderr and "give --yes" in ended.stderr
    assert state(daemon, root) == before


@pytest.mark.parametrize("command", REMOVING, ids=" ".join)
def test_question_appears_on_the_terminal_when_stdout_is_a_pipe(
    stocked_daemon: tuple[Daemon, Path], command: tuple[str, ...]
) -> None:
    daemon, root = stocked_daemon
    before = state(daemon, root)
    piped = f"{shlex.join([*LMX, *command])} | cat; exit ${{PIPESTATUS[0]}}"
    with Terminal(["bash", "-c", piped], environment=daemon.env()) as terminal:
        terminal.until(lambda text: "[y/N] " in text)
        terminal.type(b"n\n")
        assert terminal.wait() == 1 and "nothing was changed" in terminal.text
    assert state(daemon, root) == before


def test_ctrl_c_at_the_question_removes_nothing(stocked_daemon: tuple[Daemon, Path]) -> None:
    daemon, root = stocked_daemon
    before = state(daemon, root)
    with Terminal([*LMX, "rm", MODEL], environment=daemon.env()) as terminal:
        terminal.until(lambda text: "[y/N] " in text)
        terminal.signal(signal.SIGINT)
        assert terminal.wait() == 130
    assert state(daemon, root) == before


def test_yes_at_the_question_removes_the_model(stocked_daemon: tuple[Daemon, Path]) -> None:
    daemon, _ = stocked_daemon
    with Terminal([*LMX, "rm", MODEL], environment=daemon.env()) as terminal:
        terminal.until(lambda text: "[y/N] " in text)
        terminal.type(b"y\n")
        assert terminal.wait() == 0
    assert daemon.lmx("rm", "--undo", MODEL).returncode == 0


def test_a_model_that_cannot_be_removed_is_refused_before_the_question(stocked_daemon: tuple[Daemon, Path]) -> None:
    daemon, _ = stocked_daemon
    for model, reason in (("lmx/guide", "it is a part of lmx"), ("tests/missing", "no model")):
        refused = daemon.lmx("rm", model)
        assert refused.returncode == 1 and reason in refused.stderr and "confirm" not in refused.stderr, refused.stderr
    assert daemon.lmx("load", MODEL).returncode == 0
    refused = daemon.lmx("rm", MODEL)
    assert refused.returncode == 1 and f"lmx unload {MODEL}" in refused.stderr
    assert daemon.lmx("unload", MODEL).returncode == 0
