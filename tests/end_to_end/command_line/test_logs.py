"""`lmx logs` against a real daemon, and the lines of a daemon in the foreground."""

import json
import signal
import subprocess
import time
from pathlib import Path

import httpx2

from tests.end_to_end.running import LMX, Daemon, wait_until

ASKED = {"model": "lmx/guide", "messages": [{"role": "user", "content": "secret words"}], "max_tokens": 2}


def ask(address: str, name: str) -> None:
    answer = httpx2.post(f"{address}/v1/chat/completions", json=ASKED, headers={"x-request-id": name}, timeout=60)
    assert answer.status_code == 200


def test_lines_are_shown_and_filtered_also_without_a_daemon(own_daemon: Daemon) -> None:
    own_daemon.start()
    ask(own_daemon.address, "first")
    ask(own_daemon.address, "second")
    (line,) = own_daemon.lmx("logs", "--request", "second", "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["request"], found["source"]) == ("second", "worker lmx/guide")
    assert (found["data"]["outcome"], found["data"]["completion_tokens"]) == ("finished", 2)
    assert own_daemon.process is not None
    own_daemon.process.kill()
    own_daemon.process.wait()
    shown = own_daemon.lmx("logs", "--model", "lmx/guide").stdout
    assert "[first]" in shown and "[second]" in shown and "serves at" not in shown
    assert "serves at" in own_daemon.lmx("logs", "--grep", "SERVES").stdout
    assert own_daemon.lmx("logs", "--tail", "1").stdout.count("\n") == 1
    assert own_daemon.lmx("logs", "--level", "error").stdout == ""
    assert own_daemon.lmx("logs", "--grep", "(").returncode == 2
    assert "secret words" not in own_daemon.lmx("logs").stdout


def test_a_daemon_in_the_foreground_prints_a_line_for_each_request(own_daemon: Daemon, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with shown.open("w") as output:
        serving = subprocess.Popen(
            [*LMX, "serve", "--port", "0"], env=own_daemon.env(), stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
        following = subprocess.Popen([*LMX, "logs", "-f"], env=own_daemon.env(), stdout=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: "serves at http" in shown.read_text(), 30, "the daemon serves")
            address = shown.read_text().split("serves at ")[1].split("/v1")[0].split()[0].rstrip(",")
            ask(address, "printed")
            wait_until(lambda: "[printed] /v1/chat/completions" in shown.read_text(), 10, "the line is printed")
            body = {"model": "no/such", "messages": [{"role": "user", "content": "secret words"}]}
            assert httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=60).status_code == 404
            wait_until(lambda: "model_not_found: " in shown.read_text(), 10, "the line of a refused request is printed")
            assert following.stdout is not None
            deadline = time.monotonic() + 20
            while "[printed]" not in following.stdout.readline():
                assert time.monotonic() < deadline
        finally:
            following.kill()
            following.communicate()
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(30) == 0
    lines = shown.read_text().splitlines()
    assert "info    daemon: stopped" in shown.read_text() and "secret words" not in shown.read_text()
    assert len([line for line in lines if "/v1/chat/completions from " in line]) == 2


def test_lines_of_another_form_are_shown_as_they_are(own_daemon: Daemon) -> None:
    (own_daemon.home / "logs").mkdir(parents=True)
    (own_daemon.home / "logs" / "daemon.log").write_text("2026-01-01 INFO lmx a plain line\n")
    assert own_daemon.lmx("logs").stdout == "2026-01-01 INFO lmx a plain line\n"
    assert json.loads(own_daemon.lmx("logs", "--json").stdout)["message"] == "2026-01-01 INFO lmx a plain line"


def test_log_stream_follows_as_lms_does(own_daemon: Daemon) -> None:
    own_daemon.start()
    following = subprocess.Popen([*LMX, "log", "stream"], env=own_daemon.env(), stdout=subprocess.PIPE, text=True)
    try:
        assert following.stdout is not None
        time.sleep(1.5)  # it shows only lines that are written from now on
        ask(own_daemon.address, "streamed")
        while "[streamed]" not in following.stdout.readline():
            assert following.poll() is None
    finally:
        following.kill()
        following.communicate()
