"""`lmx` as a user types it, against a real daemon."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmx_cli.main import run
from tests.end_to_end.running import LMX, Daemon, wait_until


@pytest.fixture
def nobody(own_daemon: Daemon) -> Iterator[Daemon]:
    """A home without a daemon; whatever the test starts in it is stopped."""
    (own_daemon.home / "config.toml").write_text("[server]\nport = 0\n")
    yield own_daemon
    own_daemon.lmx("stop")


class TestWithoutADaemon:
    def test_status_says_so_with_a_code_of_its_own(self, nobody: Daemon) -> None:
        ended = nobody.lmx("status")
        assert ended.returncode == 3
        assert "not running" in ended.stdout
        assert json.loads(nobody.lmx("status", "--json").stdout) == {"running": False}

    def test_ps_says_what_to_do(self, nobody: Daemon) -> None:
        ended = nobody.lmx("ps")
        assert ended.returncode == 1
        assert "hint: start one with: lmx serve --detach" in ended.stderr

    def test_stop_is_content(self, nobody: Daemon) -> None:
        assert nobody.lmx("stop").returncode == 0

    def test_serve_detach_and_stop(self, nobody: Daemon) -> None:
        assert "lmx serves at http://127.0.0.1:" in nobody.lmx("serve", "--detach").stdout
        again = nobody.lmx("serve", "--detach")
        assert again.returncode == 1 and "already runs" in again.stderr
        assert nobody.lmx("status").returncode == 0
        assert nobody.lmx("stop").stdout == "stopped\n"
        assert nobody.lmx("status").returncode == 3

    def test_serve_detach_says_what_became_of_its_models(self, nobody: Daemon) -> None:
        ended = nobody.lmx("serve", "--detach", "--model", "nope/x", "--model", "lmx/guide")
        assert ended.returncode == 1 and "lmx serves at" in ended.stdout and "is ready in" in ended.stdout
        assert "error: there is no model 'nope/x' here" in ended.stderr
        assert "hint: download it with: lmx pull nope/x" in ended.stderr
        (instance,) = json.loads(nobody.lmx("ps", "--json").stdout)
        assert (instance["model"], instance["state"], instance["pinned"]) == ("lmx/guide", "ready", True)

    def test_demo_without_a_terminal(self, nobody: Daemon) -> None:
        ended = nobody.lmx("demo")
        assert ended.returncode == 0, ended.stderr
        assert "lmx tui" in ended.stdout and "TTFT" in ended.stderr and "tok/s" in ended.stderr
        assert nobody.lmx("status").returncode == 0

    def test_demo_from_a_checkout_names_a_command_that_can_be_called(self, nobody: Daemon, tmp_path: Path) -> None:
        command = tmp_path / "lmx"
        command.write_text(f"#!{sys.executable}\nfrom lmx_cli.main import main\nmain()\n")
        command.chmod(0o755)
        for path, said in (("/usr/bin:/bin", f"{command} tui"), (f"{tmp_path}:/usr/bin:/bin", " lmx tui")):
            nobody.environment["PATH"] = path
            told = subprocess.run([command, "demo"], env=nobody.env(), input="", capture_output=True, text=True)
            assert said in told.stdout, told.stderr

    def test_the_tui_needs_a_terminal(self, nobody: Daemon) -> None:
        ended = nobody.lmx("tui")
        assert ended.returncode == 1 and ended.stdout == ""
        assert ended.stderr.startswith("error: the TUI needs a terminal\nhint: ")

    def test_lmx_alone_without_a_terminal_shows_help(self, nobody: Daemon) -> None:
        assert "Usage: lmx" in nobody.lmx().stdout


class TestWithADaemon:
    def test_ls(self, daemon: Daemon) -> None:
        assert "lmx/guide" in daemon.lmx("ls").stdout
        assert json.loads(daemon.lmx("ls", "--json").stdout)[0]["id"] == "lmx/guide"

    def test_load_ps_unload(self, daemon: Daemon) -> None:
        assert "ready" in daemon.lmx("load", "tests/talker").stdout
        assert "tests/talker" in daemon.lmx("ps").stdout
        listed = json.loads(daemon.lmx("ps", "--json").stdout)
        assert {"ready"} == {instance["state"] for instance in listed}
        assert "unloaded tests/talker" in daemon.lmx("unload", "tests/talker").stdout
        assert "tests/talker" not in daemon.lmx("ps").stdout

    def test_the_built_in_model_is_a_part_of_lmx(self, daemon: Daemon) -> None:
        shown = daemon.lmx("show", "lmx/guide").stdout
        assert "verified      it is a part of lmx\n" in shown and "unproved" not in shown

    def test_one_plan_before_and_after_a_load(self, daemon: Daemon) -> None:
        for _ in range(2):  # estimated, then measured
            shown = json.loads(daemon.lmx("show", "lmx/guide", "--json").stdout)["memory"]
            assert shown == json.loads(daemon.lmx("load", "--plan", "lmx/guide", "--json").stdout)["plan"]
            daemon.lmx("load", "lmx/guide")
        assert shown["weights"]["basis"] == "measured"

    def test_loading_what_is_not_there(self, daemon: Daemon) -> None:
        ended = daemon.lmx("load", "no/such")
        assert ended.returncode == 1
        assert ended.stderr.startswith("error: ") and "lmx pull no/such" in ended.stderr

    def test_unload_wants_a_name(self, daemon: Daemon) -> None:
        assert "error: name a model" in daemon.lmx("unload").stderr

    def test_chat_with_a_prompt(self, daemon: Daemon) -> None:
        assert "1234" in daemon.lmx("chat", "lmx/guide", "-p", "What port does lmx use?").stdout

    def test_chat_reads_stdin(self, daemon: Daemon) -> None:
        assert "1234" in daemon.lmx("chat", "lmx/guide", stdin="What port does lmx use?").stdout

    def test_bytes_that_are_no_text(self, daemon: Daemon) -> None:
        piped = subprocess.run(
            [*LMX, "chat", "lmx/guide"], env=daemon.env(), input=b"What is lmx? \xff", capture_output=True, timeout=60
        )
        assert piped.returncode == 0 and piped.stdout
        given = subprocess.run(
            [*LMX, "chat", "lmx/guide", "-p", b"\xff"], env=daemon.env(), input=b"", capture_output=True, timeout=60
        )
        assert given.returncode == 1 and b"not UTF-8" in given.stderr and b"Traceback" not in given.stderr

    def test_chat_with_nothing_to_ask(self, daemon: Daemon) -> None:
        ended = daemon.lmx("chat", "lmx/guide")
        assert ended.returncode == 1 and "hint:" in ended.stderr

    def test_chat_figures(self, daemon: Daemon) -> None:
        assert "TTFT" in daemon.lmx("chat", "lmx/guide", "--stats", "-p", "What is lmx?").stderr

    def test_an_interrupt_stops_the_answer_and_its_request(self, daemon: Daemon) -> None:
        process = subprocess.Popen(
            [*LMX, "chat", "tests/talker", "-p", "a story", "--temperature", "1", "--max-tokens", "90000"],
            env=daemon.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode == 130
        wait_until(
            lambda: all(row["state"] == "cancelled" for row in daemon.admin("GET", "/admin/requests")),
            2,
            "the request is cancelled",
        )

    def test_status_tells_engine_and_backend(self, daemon: Daemon) -> None:
        daemon.lmx("load", "lmx/guide")
        said = daemon.lmx("status").stdout
        assert "mlx" in said and "backend" in said and daemon.address in said
        assert json.loads(daemon.lmx("status", "--json").stdout)["running"] is True


def test_version_and_help(daemon: Daemon) -> None:
    assert daemon.lmx("--version").stdout.startswith("lmx ")
    assert "mlx-lm" in daemon.lmx("version").stdout
    for command in ("serve", "stop", "status", "ps", "ls", "load", "unload", "chat", "pull", "bench", "tui", "demo"):
        assert daemon.lmx(command, "--help").returncode == 0


def test_a_wrong_option_is_a_usage_error(daemon: Daemon) -> None:
    ended = daemon.lmx("ls", "--nonsense")
    assert ended.returncode == 2
    assert "--nonsense" in ended.stderr and "hint: see: lmx ls --help" in ended.stderr


@pytest.mark.parametrize(("habit", "ours"), [("run", "lmx chat"), ("list", "lmx ls")])
def test_a_command_of_another_program_names_ours(habit: str, ours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([habit, "x"]) != 0
    told = capsys.readouterr().err
    assert f"hint: lmx calls it: {ours}" in told
    assert "prune" not in told
