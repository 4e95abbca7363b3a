"""The life of the daemon: start, refused start, loss of a worker, drain, and kill."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.end_to_end.running import Daemon, alive, incidents_of, short_home, wait_for_inspection, wait_until

TALKER = "tests/talker"


def stream(daemon: Daemon, on_line: Callable[[str], None], max_tokens: int = 100_000) -> None:
    """Read a long stream line by line until it ends."""
    body = {"model": TALKER, "prompt": "tell me a long story", "max_tokens": max_tokens, "stream": True}
    body["temperature"] = 1.0
    with httpx2.stream("POST", f"{daemon.address}/v1/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line:
                on_line(line)


class Readers:
    """Streams that are read by one thread each, with the lines and the end of each."""

    def __init__(self, daemon: Daemon, count: int) -> None:
        self.lines: list[list[str]] = [[] for _ in range(count)]
        self.ended: list[float | None] = [None] * count
        self._threads = [threading.Thread(target=self._read, args=(daemon, i), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def _read(self, daemon: Daemon, index: int) -> None:
        try:
            stream(daemon, self.lines[index].append)
        except httpx2.HTTPError as error:
            self.lines[index].append(f"broken: {error}")
        self.ended[index] = time.monotonic()

    def all_running(self) -> bool:
        return all(len(lines) > 3 for lines in self.lines)

    def join(self, seconds: float) -> None:
        for thread in self._threads:
            thread.join(seconds)
        assert all(self.ended), "a stream neither ended nor failed"


class TestWorkers:
    def test_a_killed_worker_fails_its_streams_at_once_and_the_next_chat_works(self, own_daemon: Daemon) -> None:
        daemon = own_daemon.start()
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        readers = Readers(daemon, 8)
        wait_until(readers.all_running, 30, "eight streams run")
        (worker,) = daemon.worker_pids()
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        while time.monotonic() - killed < 1.0:
            assert daemon.get("/v1/models")[0] == 200
        readers.join(5)
        for lines, ended in zip(readers.lines, readers.ended, strict=True):
            assert ended is not None and ended - killed < 2.0
            assert '"error"' in lines[-1]
        answer = httpx2.post(
            f"{daemon.address}/v1/completions",
            json={"model": TALKER, "prompt": "again", "max_tokens": 4},
            timeout=60,
        )
        assert answer.status_code == 200
        assert daemon.worker_pids() != [worker]

    def test_a_stopped_worker_is_ended_as_hung(self, own_daemon: Daemon) -> None:
        own_daemon.config = "[engine]\nhang_seconds = 2.0\nwarm_spare = false\n"
        daemon = own_daemon.start()
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        readers = Readers(daemon, 2)
        wait_until(readers.all_running, 30, "two streams run")
        (worker,) = daemon.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: daemon.get("/health")[0] == 503 or all(readers.ended), 15, "the hang is noticed")
        readers.join(20)
        assert all('"error"' in lines[-1] for lines in readers.lines)
        wait_until(lambda: not alive(worker), 4, "the hung worker is gone, though it handles no message and no SIGTERM")
        assert daemon.get("/health")[0] == 200

    def test_worker_is_not_ended_as_hung_after_the_daemon_was_stopped(self, own_daemon: Daemon) -> None:
        own_daemon.config = "[engine]\nhang_seconds = 2.0\nwarm_spare = false\n"
        daemon = own_daemon.start()
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        workers = daemon.worker_pids()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        daemon.process.send_signal(signal.SIGCONT)
        wait_for_inspection(daemon)
        assert daemon.worker_pids() == workers
        assert incidents_of(daemon) == []

    def test_an_unload_ends_the_process(self, own_daemon: Daemon) -> None:
        daemon = own_daemon.start()
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        (worker,) = daemon.worker_pids()
        daemon.admin("POST", "/admin/models/unload", {"id": TALKER})
        wait_until(lambda: not alive(worker), 3, "the worker is gone")
        assert daemon.admin("GET", "/admin/instances") == []

    def test_a_killed_daemon_leaves_no_orphan(self, own_daemon: Daemon) -> None:
        daemon = own_daemon.start()
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        assert daemon.process is not None
        parent = psutil.Process(daemon.process.pid)
        wait_until(lambda: len(parent.children()) >= 2, 30, "a worker and a spare")
        processes = [child.pid for child in parent.children(recursive=True)]
        daemon.process.kill()
        daemon.process.wait()
        wait_until(lambda: not any(map(alive, processes)), 5, "workers and spare are gone")


class TestDisconnects:
    def test_stream_is_cancelled_on_disconnect(self, daemon: Daemon) -> None:
        body = {"model": TALKER, "prompt": "x", "max_tokens": 100_000, "stream": True, "temperature": 1.0}
        with httpx2.stream("POST", f"{daemon.address}/v1/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()  # a reference is kept: the response closes with it
            next(lines)
            assert daemon.admin("GET", "/admin/requests")
        wait_until(lambda: not running(daemon), 1, "the request is gone")

    def test_request_without_a_stream_is_cancelled_on_disconnect(self, daemon: Daemon) -> None:
        body = {"model": TALKER, "prompt": "x", "max_tokens": 100_000, "temperature": 1.0}
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=1.0)
        wait_until(lambda: not running(daemon), 1, "the request is gone")

    def test_a_request_is_cancelled_by_its_id(self, daemon: Daemon) -> None:
        readers = Readers(daemon, 1)
        wait_until(readers.all_running, 30, "the stream runs")
        (row,) = running(daemon)
        daemon.admin("POST", f"/admin/requests/{row['id']}/cancel")
        readers.join(3)
        assert running(daemon) == []


def running(daemon: Daemon) -> list[Any]:
    rows: list[Any] = daemon.admin("GET", "/admin/requests")
    return [row for row in rows if row["state"] not in ("finished", "failed", "cancelled")]


class TestShutdown:
    def test_sigterm_drains_and_leaves_no_process_or_socket(self, own_daemon: Daemon) -> None:
        own_daemon.config = "[server]\ndrain_seconds = 1.0\n"
        daemon = own_daemon.start()
        readers = Readers(daemon, 3)
        wait_until(readers.all_running, 30, "three streams run")
        workers = daemon.worker_pids()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        readers.join(10)
        assert all('"error"' in lines[-1] for lines in readers.lines)
        assert daemon.process.wait(15) == 0
        assert not (daemon.home / "lmx.sock").exists()
        assert not any(map(alive, workers))

    def test_reader_of_the_log_gets_the_last_line_and_does_not_delay_the_shutdown(self, own_daemon: Daemon) -> None:
        own_daemon.config = "[engine]\nwarm_spare = false\n"
        daemon = own_daemon.start()
        assert daemon.process is not None
        transport = httpx2.HTTPTransport(uds=str(daemon.home / "lmx.sock"))
        with (
            httpx2.Client(transport=transport, base_url="http://lmx", timeout=20) as client,
            client.stream("GET", "/admin/logs") as following,
        ):
            lines = following.iter_lines()
            next(lines)
            daemon.process.send_signal(signal.SIGTERM)
            assert "stopping" in [line for line in lines if line][-1]
        assert daemon.process.wait(15) == 0
        assert '"level":"error"' not in (daemon.home / "logs" / "daemon.log").read_text()

    def test_short_stream_finishes_during_the_drain(self, own_daemon: Daemon) -> None:
        daemon = own_daemon.start()
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        lines: list[str] = []
        reader = threading.Thread(target=stream, args=(daemon, lines.append, 400))
        reader.start()
        wait_until(lambda: len(lines) > 2, 30, "the stream runs")
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        reader.join(20)
        assert lines[-1] == "data: [DONE]"
        assert daemon.process.wait(15) == 0


def start_and_fail(home: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Start a daemon whose start must fail, and return its error."""
    ended = subprocess.run(
        [sys.executable, "-m", "lmx_daemon", *arguments],
        env=os.environ | {"LMX_HOME": str(home)} | (env or {}),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode not in (0, None)
    assert ended.stderr.startswith("error: ")
    assert "\nhint: " in ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


class TestRefusedStarts:
    def test_a_port_in_use_is_named(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            assert str(port) in start_and_fail(short_home(), "--port", str(port))

    def test_a_second_daemon_does_not_take_the_socket(self, daemon: Daemon) -> None:
        start_and_fail(daemon.home, "--port", "0")
        assert daemon.admin("GET", "/admin/health")["ok"] is True

    def test_a_file_in_the_place_of_the_home_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("not a directory")
        assert str(tmp_path / "home") in start_and_fail(tmp_path / "home")

    def test_the_error_of_a_bad_setting_has_file_and_field(self) -> None:
        home = short_home()
        (home / "config.toml").write_text("[server]\nport = 'many'\n")
        error = start_and_fail(home)
        assert "config.toml" in error and "port" in error

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1.example", "127.example"])
    def test_a_public_address_needs_a_key(self, host: str) -> None:
        assert "no API key" in start_and_fail(short_home(), "--host", host, "--port", "0")

    @pytest.mark.parametrize("name", ["config.toml", "lmx.lock", "lmx.sock", "logs/daemon.log", "logs/workers.log"])
    def test_a_directory_in_the_place_of_a_file_is_named(self, name: str) -> None:
        home = short_home()
        (home / name).mkdir(parents=True)
        assert str(home / name) in start_and_fail(home, "--port", "0")

    def test_a_stale_socket_is_replaced(self, own_daemon: Daemon) -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(own_daemon.home / "lmx.sock"))
        stale.close()
        own_daemon.start()
        assert own_daemon.admin("GET", "/admin/health")["ok"] is True

    def test_only_the_user_may_use_the_socket(self, daemon: Daemon) -> None:
        assert stat.S_IMODE((daemon.home / "lmx.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE(daemon.home.stat().st_mode) == 0o700


def test_daemon_serves_although_its_output_cannot_be_written() -> None:
    """A pipe without a reader fails like a log on a full disk or a terminal that is gone."""
    home = short_home()
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lmx_daemon", "--port", "0"]
    process = subprocess.Popen(command, env=os.environ | {"LMX_HOME": str(home)}, stdout=writer, stderr=writer)
    os.close(writer)
    daemon = Daemon(home=home, process=process)
    wait_until(lambda: process.poll() is not None or daemon._listens(), 30, "it listens")
    assert process.poll() is None and daemon.admin("GET", "/admin/status")["address"]
    assert daemon.stop() == 0


def test_simultaneous_requests_share_one_load(own_daemon: Daemon) -> None:
    daemon = own_daemon.start()

    async def ask(client: httpx2.AsyncClient) -> int:
        body = {"model": TALKER, "prompt": "x", "max_tokens": 2}
        return (await client.post(f"{daemon.address}/v1/completions", json=body)).status_code

    async def all_at_once() -> list[int]:
        async with httpx2.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(ask(client) for _ in range(12)))

    assert asyncio.run(all_at_once()) == [200] * 12
    assert len(daemon.admin("GET", "/admin/instances")) == 1
