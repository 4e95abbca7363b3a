"""Processes that are killed, stopped or started together: requests end, no process is left, the next request works."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import psutil
import pytest

from tests.end_to_end.running import LMX, Daemon, alive, wait_until
from tests.soak.conftest import SECOND, TALKER
from tests.soak.streams import Stream

pytestmark = pytest.mark.slow
UNLIMITED = "max_restarts = 1000\nrestart_window_seconds = 1.0\n"
"""Settings without a limit on crashes, which has its own tests."""


def ask(daemon: Daemon, model: str = TALKER, **fields: Any) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "again"}], "max_tokens": 4} | fields
    return httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=60)


def worker_of(daemon: Daemon, model: str = TALKER) -> int:
    """Return the process id of the worker of `model`."""
    (instance,) = [found for found in daemon.admin("GET", "/admin/instances") if found["model"] == model]
    return int(instance["pid"])


def descendants(daemon: Daemon) -> list[psutil.Process]:
    """Return the processes that the daemon has started: workers, a spare and their children."""
    assert daemon.process is not None
    return psutil.Process(daemon.process.pid).children(recursive=True)


def refuses(daemon: Daemon) -> bool:
    """Return whether the daemon refuses new requests, or has closed its port."""
    try:
        return daemon.get("/health")[0] == 503
    except OSError:
        return True


def running(streams: list[Stream]) -> Callable[[], bool]:
    return lambda: all(stream.running for stream in streams)


class TestKilledWorkers:
    def test_64_streams_end_with_an_error_event_and_another_models_streams_go_on(self, own_daemon: Daemon) -> None:
        own_daemon.config = f"[engine]\n{UNLIMITED}"
        daemon = own_daemon.start()
        others = [Stream(daemon, SECOND) for _ in range(4)]
        wait_until(running(others), 60, "four streams of the other model run")
        delays: list[float] = []
        for _ in range(8):
            before = [other.size for other in others]
            streams = [Stream(daemon, TALKER) for _ in range(8)]
            wait_until(running(streams), 60, "eight streams run")
            worker = worker_of(daemon)
            killed = time.monotonic()
            os.kill(worker, signal.SIGKILL)
            for stream in streams:
                stream.join(10)
                assert (stream.status, stream.outcome) == (200, "worker_failed")
                assert stream.text.count('"error"') == 1 and "[DONE]" not in stream.text
                delays.append((stream.ended or 0.0) - killed)
            assert ask(daemon).status_code == 200
            assert worker_of(daemon) != worker and not alive(worker)
            assert [other.outcome for other in others] == ["running"] * 4
            assert all(other.size > size for other, size in zip(others, before, strict=True))
        assert len(delays) == 64 and 0 < max(delays) < 1.0, f"the slowest error came after {max(delays):.2f} s"

    def test_kill_of_a_loading_worker_fails_that_load_only(self, own_daemon: Daemon) -> None:
        own_daemon.config = f"[engine]\nwarm_spare = false\n{UNLIMITED}"
        daemon = own_daemon.start()
        with ThreadPoolExecutor() as threads:
            for _ in range(8):
                asked = threads.submit(ask, daemon)
                wait_until(daemon.worker_pids, 20, "a worker is started")
                (instance,) = daemon.admin("GET", "/admin/instances")
                assert instance["state"] in ("starting", "loading") and not asked.done()
                killed = time.monotonic()
                os.kill(instance["pid"], signal.SIGKILL)
                answer = asked.result(10)
                assert time.monotonic() - killed < 2.0
                assert answer.status_code == 500 and "SIGKILL" in answer.json()["error"]["message"]
        assert ask(daemon).status_code == 200

    def test_a_killed_idle_worker_is_started_again_by_the_next_request(self, own_daemon: Daemon) -> None:
        own_daemon.config = f"[engine]\n{UNLIMITED}"
        daemon = own_daemon.start()
        for _ in range(3):
            assert ask(daemon).status_code == 200
            os.kill(worker_of(daemon), signal.SIGKILL)
            assert ask(daemon).status_code in (200, 500)  # 500 if it arrives before the end of the worker is detected
            assert ask(daemon).status_code == 200


class TestStoppedProcesses:
    def test_requests_of_a_stopped_worker_fail_at_the_hang_limit(self, own_daemon: Daemon) -> None:
        own_daemon.config = f"[engine]\nhang_seconds = 16.0\nleave_seconds = 0.5\n{UNLIMITED}"
        daemon = own_daemon.start()
        other = Stream(daemon, SECOND)
        streams = [Stream(daemon, TALKER) for _ in range(6)]
        wait_until(running([other, *streams]), 60, "seven streams run")
        worker = worker_of(daemon)
        stopped = time.monotonic()
        os.kill(worker, signal.SIGSTOP)
        assert daemon.get("/health")[0] == 200
        # On a busy machine, the daemon reads the last frames late, and the time counts from then.
        noticed = wait_until(lambda: daemon.get("/health")[0] == 503, 30, "health is not ok")
        assert noticed > 4.0 and [stream.outcome for stream in streams] == ["running"] * 6
        for stream in streams:
            stream.join(60)
            assert stream.outcome == "worker_hung"
            assert 15.0 < (stream.ended or 0.0) - stopped < 60.0
        size = other.size
        assert ask(daemon).status_code == 200
        wait_until(lambda: other.size > size, 5, "the other model's stream goes on")
        wait_until(lambda: not alive(worker), 5, "the stopped worker is gone")
        assert other.outcome == "running" and daemon.get("/health")[0] == 200

    def test_streams_survive_a_daemon_that_is_stopped_for_longer_than_the_hang_limit(self, own_daemon: Daemon) -> None:
        own_daemon.config = "[engine]\nhang_seconds = 2.0\n"
        daemon = own_daemon.start()
        assert daemon.process is not None
        streams = [Stream(daemon, TALKER, max_tokens=1500) for _ in range(6)]
        wait_until(running(streams), 60, "six streams run")
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        assert [stream.outcome for stream in streams] == ["running"] * 6
        daemon.process.send_signal(signal.SIGCONT)
        for stream in streams:
            stream.join(60)
            assert stream.outcome == "done"


class TestKilledDaemons:
    def test_a_killed_daemon_leaves_no_process_and_the_next_one_serves(self, own_daemon: Daemon) -> None:
        daemon = own_daemon
        for _ in range(5):
            daemon.start()
            streams = [Stream(daemon, model) for model in (TALKER, SECOND) * 3]
            wait_until(running(streams), 60, "six streams run")
            started = descendants(daemon)
            assert len(started) >= 2
            assert daemon.process is not None
            daemon.process.kill()
            daemon.process.wait()
            wait_until(lambda: not any(alive(found.pid) for found in started), 1.0, "all processes are gone")  # noqa: B023
            for stream in streams:
                stream.join(10)
                assert stream.outcome.startswith("broken")
        daemon.start()
        assert ask(daemon).status_code == ask(daemon, SECOND).status_code == 200

    def test_sigterm_drains_64_streams_and_ends_the_rest(self, own_daemon: Daemon) -> None:
        own_daemon.config = "[server]\ndrain_seconds = 3.0\n[engine]\nmax_running = 64\n"
        daemon = own_daemon.start()
        long = [Stream(daemon, TALKER) for _ in range(14)]
        wait_until(running(long), 60, "the long streams run")
        short = [Stream(daemon, TALKER, max_tokens=40) for _ in range(50)]
        wait_until(lambda: all(stream.status == 200 for stream in short), 60, "the short streams are accepted")
        started = descendants(daemon)
        assert daemon.process is not None and len(started) >= 1
        asked = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(daemon), 3, "the drain has begun")
        late = Stream(daemon, TALKER)
        assert daemon.process.wait(20) == 0
        assert time.monotonic() - asked < 8.0
        for stream in [*long, *short, late]:
            stream.join(5)
        assert {stream.outcome for stream in short} == {"done"}
        assert {stream.outcome for stream in long} == {"shutting_down"}
        assert late.status in (0, 503)  # 0: its connection was refused
        assert not (daemon.home / "lmx.sock").exists()
        assert not any(alive(found.pid) for found in started)

    def test_second_sigterm_ends_the_drain(self, own_daemon: Daemon) -> None:
        own_daemon.config = "[server]\ndrain_seconds = 60.0\n"
        daemon = own_daemon.start()
        streams = [Stream(daemon, TALKER) for _ in range(8)]
        wait_until(running(streams), 60, "eight streams run")
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.admin("GET", "/admin/status").get("draining"), 10, "the daemon drains")
        sizes = [stream.size for stream in streams]
        wait_until(lambda: all(s.size > size for s, size in zip(streams, sizes, strict=True)), 10, "all go on")
        assert [stream.outcome for stream in streams] == ["running"] * 8
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(8) == 0
        for stream in streams:
            stream.join(5)
            assert stream.outcome == "shutting_down"


def daemons_of(daemon: Daemon) -> list[psutil.Process]:
    """Return every daemon process of this home."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "lmx_daemon" in process.cmdline() and process.environ().get("LMX_HOME") == str(daemon.home):
                found.append(process)
    return found


@pytest.fixture
def no_daemon_is_left(own_daemon: Daemon) -> Iterator[None]:
    yield
    for process in daemons_of(own_daemon):
        process.terminate()
        process.wait(30)


class TestStartsTogether:
    def test_one_of_20_simultaneous_serves_runs(self, own_daemon: Daemon, no_daemon_is_left: None) -> None:
        command = [*LMX, "serve", "--port", "0"]
        started = [
            subprocess.Popen(command, env=own_daemon.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(20)
        ]
        wait_until(lambda: sum(process.poll() is None for process in started) == 1, 120, "19 have ended")
        (winner,) = [process for process in started if process.poll() is None]
        for loser in started:
            if loser is not winner:
                _, errors = loser.communicate()
                assert loser.returncode == 1 and "Traceback" not in errors
                assert re.fullmatch(r"error: [^\n]*\nhint: [^\n]*\n", errors), errors
        assert own_daemon.admin("GET", "/admin/status")["pid"] == winner.pid
        assert [process.pid for process in daemons_of(own_daemon)] == [winner.pid]
        assert winner.poll() is None
        winner.terminate()
        assert "Traceback" not in winner.communicate(timeout=30)[1] and winner.returncode == 0

    def test_20_simultaneous_detached_serves_succeed_with_one_daemon(
        self, own_daemon: Daemon, no_daemon_is_left: None
    ) -> None:
        own_daemon.home.mkdir(exist_ok=True)
        (own_daemon.home / "config.toml").write_text("[server]\nport = 0\n[engine]\nwarm_spare = false\n")
        command = [*LMX, "serve", "--detach"]
        started = [
            subprocess.Popen(command, env=own_daemon.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(20)
        ]
        outputs = [process.communicate(timeout=120) for process in started]
        pid = own_daemon.admin("GET", "/admin/status")["pid"]
        assert [process.returncode for process in started] == [0] * 20, outputs
        assert all(f"(pid {pid})" in output for output, _ in outputs)
        assert [process.pid for process in daemons_of(own_daemon)] == [pid]

    def test_one_of_12_simultaneous_detached_serves_runs(self, own_daemon: Daemon, no_daemon_is_left: None) -> None:
        command = [*LMX, "serve", "--detach", "--port", "0"]
        started = [
            subprocess.Popen(command, env=own_daemon.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(12)
        ]
        outputs = [process.communicate(timeout=60) for process in started]
        pid = own_daemon.admin("GET", "/admin/status")["pid"]
        for process, (output, errors) in zip(started, outputs, strict=True):
            assert f"(pid {pid})" in output + errors and "Traceback" not in errors
            assert process.returncode == 0 or "already runs" in errors
        assert 0 in [process.returncode for process in started]
        assert [process.pid for process in daemons_of(own_daemon)] == [pid]
