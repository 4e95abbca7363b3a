"""The command line of `lmx` against a real daemon."""

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
def empty_home(own_daemon: Daemon) -> Iterator[Daemon]:
    """Return a home without a daemon. A daemon that a test starts is stopped."""
    (own_daemon.home / "config.toml").write_text("[server]\nport = 0\n")
    yield own_daemon
    own_daemon.lmx("stop")


class TestWithoutADaemon:
    def test_status_has_an_exit_code_of_its_own(self, empty_home: Daemon) -> None:
        ended = empty_home.lmx("status")
        assert ended.returncode == 3
        assert "not running" in ended.stdout
        assert json.loads(empty_home.lmx("status", "--json").stdout) == {"running": False}

    def test_ps_hints_at_serve(self, empty_home: Daemon) -> None:
        ended = empty_home.lmx("ps")
        assert ended.returncode == 3
        assert "hint: start one with: lmx serve --detach" in ended.stderr

    @pytest.mark.parametrize("command", [("ps",), ("unload", "lmx/guide"), ("unload", "--all")])
    def test_commands_that_start_no_daemon_end_with_3(self, empty_home: Daemon, command: tuple[str, ...]) -> None:
        assert empty_home.lmx(*command).returncode == 3

    def test_error_is_json_with_json(self, empty_home: Daemon) -> None:
        ended = empty_home.lmx("ps", "--json")
        error = json.loads(ended.stdout)["error"]
        assert (ended.returncode, error["code"], ended.stderr) == (3, "daemon_unreachable", "")
        assert error["hint"] == "start one with: lmx serve --detach" and "no lmx daemon" in error["message"]

    def test_stop_succeeds(self, empty_home: Daemon) -> None:
        assert empty_home.lmx("stop").returncode == 0
        assert json.loads(empty_home.lmx("stop", "--json").stdout) == {"was_running": False, "running": False}

    def test_serve_detach_and_stop(self, empty_home: Daemon) -> None:
        assert "lmx serves at http://127.0.0.1:" in empty_home.lmx("serve", "--detach").stdout
        again = empty_home.lmx("serve", "--detach")
        assert again.returncode == 0 and "(pid " in again.stdout and "it was running already" in again.stderr
        refused = empty_home.lmx("serve", "--detach", "--port", "0")
        assert refused.returncode == 1 and "already runs" in refused.stderr
        assert empty_home.lmx("status").returncode == 0
        assert empty_home.lmx("stop").stdout == "stopped\n"
        assert empty_home.lmx("status").returncode == 3

    def test_restart_keeps_options_and_key(self, empty_home: Daemon) -> None:
        empty_home.lmx("serve", "--detach", "--host", "127.0.0.1", "--api-key", "a-key-of-this-test")
        before = json.loads(empty_home.lmx("status", "--json").stdout)["status"]
        ended = empty_home.lmx("restart")
        assert ended.returncode == 0 and "in the background" in ended.stdout
        assert "options as before: --host 127.0.0.1" in ended.stderr and "a-key" not in ended.stderr + ended.stdout
        after = json.loads(empty_home.lmx("status", "--json").stdout)["status"]
        assert after["pid"] != before["pid"] and after["api_key"]

    def test_restart_without_a_daemon_starts_one(self, empty_home: Daemon) -> None:
        ended = empty_home.lmx("restart", "--json")
        assert ended.returncode == 0 and "is not running, and is started" in ended.stderr
        status = json.loads(ended.stdout)["status"]
        assert json.loads(empty_home.lmx("status", "--json").stdout)["status"]["pid"] == status["pid"]
        assert json.loads(empty_home.lmx("stop", "--json").stdout) == {"was_running": True, "running": False}

    def test_serve_detach_reports_the_result_of_each_load(self, empty_home: Daemon) -> None:
        ended = empty_home.lmx("serve", "--detach", "--model", "nope/x", "--model", "lmx/guide")
        assert ended.returncode == 1 and "lmx serves at" in ended.stdout and "is ready in" in ended.stdout
        assert "error: there is no model 'nope/x' here" in ended.stderr
        assert "hint: download it with: lmx pull nope/x" in ended.stderr
        (instance,) = json.loads(empty_home.lmx("ps", "--json").stdout)
        assert (instance["model"], instance["state"], instance["pinned"]) == ("lmx/guide", "ready", True)

    def test_demo_without_a_terminal_prints_answer_and_figures(self, empty_home: Daemon) -> None:
        ended = empty_home.lmx("demo")
        assert ended.returncode == 0, ended.stderr
        assert "lmx tui" in ended.stdout and "TTFT" in ended.stderr and "tok/s" in ended.stderr
        assert empty_home.lmx("status").returncode == 0

    def test_demo_from_a_checkout_prints_commands_with_their_path(self, empty_home: Daemon, tmp_path: Path) -> None:
        command = tmp_path / "lmx"
        command.write_text(f"#!{sys.executable}\nfrom lmx_cli.main import main\nmain()\n")
        command.chmod(0o755)
        for path, expected in (("/usr/bin:/bin", f"{command} tui"), (f"{tmp_path}:/usr/bin:/bin", " lmx tui")):
            empty_home.environment["PATH"] = path
            ended = subprocess.run([command, "demo"], env=empty_home.env(), input="", capture_output=True, text=True)
            assert expected in ended.stdout, ended.stderr

    def test_the_tui_needs_a_terminal(self, empty_home: Daemon) -> None:
        ended = empty_home.lmx("tui")
        assert ended.returncode == 1 and ended.stdout == ""
        assert ended.stderr.startswith("error: the TUI needs a terminal\nhint: ")

    def test_lmx_without_a_terminal_prints_help(self, empty_home: Daemon) -> None:
        assert "Usage: lmx" in empty_home.lmx().stdout


class TestWithADaemon:
    def test_ls_lists_models(self, daemon: Daemon) -> None:
        assert "lmx/guide" in daemon.lmx("ls").stdout
        assert json.loads(daemon.lmx("ls", "--json").stdout)[0]["id"] == "lmx/guide"

    def test_loaded_model_is_listed_until_it_is_unloaded(self, daemon: Daemon) -> None:
        assert "ready" in daemon.lmx("load", "tests/talker").stdout
        assert "tests/talker" in daemon.lmx("ps").stdout
        listed = json.loads(daemon.lmx("ps", "--json").stdout)
        assert {"ready"} == {instance["state"] for instance in listed}
        assert "unloaded tests/talker" in daemon.lmx("unload", "tests/talker").stdout
        assert "tests/talker" not in daemon.lmx("ps").stdout

    def test_unload_prints_the_unloaded_instances_as_json(self, daemon: Daemon) -> None:
        loaded = json.loads(daemon.lmx("load", "tests/talker", "--json").stdout)
        ended = daemon.lmx("unload", "tests/talker", "--json")
        assert [each["id"] for each in json.loads(ended.stdout)] == [loaded["id"]], ended.stderr
        missing = daemon.lmx("unload", "nosuch", "--json")
        assert missing.returncode == 1 and json.loads(missing.stdout)["error"]["code"] == "not_found"

    def test_built_in_model_is_verified_as_a_part_of_lmx(self, daemon: Daemon) -> None:
        shown = daemon.lmx("show", "lmx/guide").stdout
        assert "verified      it is a part of lmx\n" in shown and "unproved" not in shown

    def test_show_and_load_report_the_same_plan_before_and_after_a_load(self, daemon: Daemon) -> None:
        for _ in range(2):  # estimated, then measured
            shown = json.loads(daemon.lmx("show", "lmx/guide", "--json").stdout)["memory"]
            assert shown == json.loads(daemon.lmx("load", "--plan", "lmx/guide", "--json").stdout)["plan"]
            daemon.lmx("load", "lmx/guide")
        assert shown["weights"]["basis"] == "measured"

    def test_a_context_above_the_models_own_is_reported_as_cut(self, daemon: Daemon) -> None:
        planned = daemon.lmx("load", "tests/talker", "--plan", "--context", "999999")
        assert "the model's maximum; 999999 were requested" in planned.stderr
        assert "requested" not in daemon.lmx("load", "tests/talker", "--plan", "--context", "16").stderr
        loaded = daemon.lmx("load", "tests/talker", "--context", "999999")
        assert loaded.returncode == 0 and "the model's maximum; 999999 were requested" in loaded.stderr
        daemon.lmx("unload", "tests/talker")

    def test_options_of_lms_load_are_known(self, daemon: Daemon) -> None:
        options = ("--context-length", "64", "--parallel", "2", "--ttl", "60", "--pin", "--estimate", "--json")
        plan = json.loads(daemon.lmx("load", "talker", *options).stdout)["plan"]
        assert (plan["context"], plan["slots"]) == (64, 2)

    def test_load_of_an_unknown_model_hints_at_pull(self, daemon: Daemon) -> None:
        ended = daemon.lmx("load", "no/such")
        assert ended.returncode == 1
        assert ended.stderr.startswith("error: ") and "lmx pull no/such" in ended.stderr

    def test_unload_requires_a_name(self, daemon: Daemon) -> None:
        assert "error: name a model" in daemon.lmx("unload").stderr

    def test_chat_answers_a_prompt(self, daemon: Daemon) -> None:
        assert "1234" in daemon.lmx("chat", "lmx/guide", "-p", "What port does lmx use?").stdout

    def test_chat_reads_stdin(self, daemon: Daemon) -> None:
        assert "1234" in daemon.lmx("chat", "lmx/guide", stdin="What port does lmx use?").stdout

    def test_bytes_that_are_not_utf_8_are_an_error_or_replaced(self, daemon: Daemon) -> None:
        piped = subprocess.run(
            [*LMX, "chat", "lmx/guide"], env=daemon.env(), input=b"What is lmx? \xff", capture_output=True, timeout=60
        )
        assert piped.returncode == 0 and piped.stdout
        given = subprocess.run(
            [*LMX, "chat", "lmx/guide", "-p", b"\xff"], env=daemon.env(), input=b"", capture_output=True, timeout=60
        )
        assert given.returncode == 1 and b"not UTF-8" in given.stderr and b"Traceback" not in given.stderr

    def test_chat_without_a_question_is_an_error(self, daemon: Daemon) -> None:
        ended = daemon.lmx("chat", "lmx/guide")
        assert ended.returncode == 2 and "hint:" in ended.stderr

    def test_chat_stats_shows_figures(self, daemon: Daemon) -> None:
        assert "TTFT" in daemon.lmx("chat", "lmx/guide", "--stats", "-p", "What is lmx?").stderr

    def test_interrupt_cancels_the_request(self, daemon: Daemon) -> None:
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

    def test_status_shows_engine_and_backend(self, daemon: Daemon) -> None:
        daemon.lmx("load", "lmx/guide")
        shown = daemon.lmx("status").stdout
        assert "mlx" in shown and "backend" in shown and daemon.address in shown
        assert "0 running, 0 in the queue" in shown
        assert json.loads(daemon.lmx("status", "--json").stdout)["running"] is True


def test_version_and_help_of_each_command(daemon: Daemon) -> None:
    assert daemon.lmx("--version").stdout.startswith("lmx ")
    assert "mlx-lm" in daemon.lmx("version").stdout
    for command in ("serve", "stop", "status", "ps", "ls", "load", "unload", "chat", "pull", "bench", "tui", "demo"):
        assert daemon.lmx(command, "--help").returncode == 0


def test_unknown_option_is_a_usage_error(daemon: Daemon) -> None:
    ended = daemon.lmx("ls", "--nonsense")
    assert ended.returncode == 2
    assert "--nonsense" in ended.stderr and "hint: see: lmx ls --help" in ended.stderr


def test_error_of_the_daemon_is_json_with_json(daemon: Daemon) -> None:
    for command in (("show", "no/such"), ("load", "no/such"), ("verify", "no/such")):
        ended = daemon.lmx(*command, "--json")
        assert ended.returncode == 1
        assert json.loads(ended.stdout)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "line",
    [("ls", "--nonsense"), ("ls", "--sort", "color"), ("show",), ("verify",), ("lss",), ("rm",), ("cache", "nosuch")],
)
def test_wrong_command_line_ends_with_2(line: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*line, "--json"]) == 2
    written = capsys.readouterr()
    assert json.loads(written.out)["error"]["code"] == "usage" and written.err == ""
    assert run([*line]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_commands_of_ollama_and_lms_do_what_those_of_lmx_do(daemon: Daemon) -> None:
    assert "1234" in daemon.lmx("run", "lmx/guide", "What port does lmx use?").stdout
    assert [model["id"] for model in json.loads(daemon.lmx("list", "--json").stdout)] == ["lmx/guide", "tests/talker"]
    assert daemon.lmx("server", "status").stdout.startswith("lmx ")
