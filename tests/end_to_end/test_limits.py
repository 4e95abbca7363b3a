"""Limits of queues, slow clients and deadlines, and a daemon without an engine."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from lmx_daemon.http.server.connections import ADMIN_CONNECTIONS
from tests.end_to_end.running import Daemon, wait_until

TALKER = "tests/talker"


def connect(daemon: Daemon) -> socket.socket:
    host, port = daemon.address.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    return connection


def live(daemon: Daemon) -> list[Any]:
    rows: list[Any] = daemon.admin("GET", "/admin/requests")
    return rows


def test_connection_of_a_client_that_stops_reading_is_closed(own_daemon: Daemon) -> None:
    own_daemon.config = "[server]\nstall_seconds = 1.0\n[engine]\nwarm_spare = false\n"
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    body = json.dumps({"model": TALKER, "prompt": "x", "max_tokens": 30_000, "stream": True, "logprobs": 5}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    slow = connect(daemon)
    slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_until(lambda: live(daemon), 20, "the stream runs")
    wait_until(lambda: not live(daemon), 60, "the slow reader is cut")
    answer = httpx2.post(
        f"{daemon.address}/v1/completions", json={"model": TALKER, "prompt": "x", "max_tokens": 3}, timeout=30
    )
    assert answer.status_code == 200
    slow.close()


def test_a_full_queue_answers_429_with_retry_after(own_daemon: Daemon) -> None:
    own_daemon.config = "[server]\nmax_queued = 1\n[engine]\nwarm_spare = false\nmax_running = 1\n"
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    answers: list[httpx2.Response] = []

    def ask() -> None:
        body = {"model": TALKER, "prompt": "x", "max_tokens": 300}
        answers.append(httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=60))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and {answer.status_code for answer in answers} == {200, 429}
    for answer in refused:
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "queue_full"


def test_newcomer_gets_a_place_in_a_queue_that_another_client_has_filled(own_daemon: Daemon) -> None:
    own_daemon.config = "[server]\nmax_queued = 4\n[engine]\nwarm_spare = false\nmax_running = 1\n"
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})

    def ask(client: str, tokens: int) -> httpx2.Response:
        body = {"model": TALKER, "prompt": "x", "max_tokens": tokens}
        headers = {"user-agent": client}
        return httpx2.post(f"{daemon.address}/v1/completions", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor() as threads:
        flood = [threads.submit(ask, "flood/1", 2000) for _ in range(5)]
        wait_until(lambda: len(live(daemon)) == 5, 20, "all places are taken")
        assert ask("flood/1", 2).status_code == 429
        assert ask("editor/1", 2).status_code == 200
        answers = [each.result(60) for each in flood]
    (refused,) = [answer for answer in answers if answer.status_code != 200]
    assert refused.status_code == 429 and "yielded its place" in refused.json()["error"]["message"]


def test_deadline_applies_during_load_queue_and_decode(own_daemon: Daemon) -> None:
    own_daemon.config = "[engine]\nwarm_spare = false\nmax_running = 1\n"
    daemon = own_daemon.start()

    def ask(**fields: Any) -> httpx2.Response:
        body = {"model": TALKER, "prompt": "x", "max_tokens": 30_000} | fields
        return httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=60)

    for name in ("queue_deadline", "deadline"):
        late = ask(**{name: 0.05})  # less than the imports of a worker take
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert "not begun" in late.json()["error"]["message"]
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})  # the load may have been withdrawn with its requests
    with ThreadPoolExecutor() as threads:
        running = threads.submit(ask, deadline=2.0, queue_deadline=1.5)
        wait_until(lambda: [row["state"] for row in live(daemon)] == ["decode"], 10, "one runs")
        assert "not begun" in ask(queue_deadline=0.2).json()["error"]["message"]
        assert "took longer" in running.result().json()["error"]["message"]
    refused = ask(deadline=-1)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "deadline")


def test_prompt_above_the_context_is_refused_without_a_load_or_a_delay(own_daemon: Daemon) -> None:
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    asked = {"role": "user", "content": "hello"}
    huge = "x y " * 1_000_000
    tool = {"type": "function", "function": {"name": "f", "description": huge}}
    too_long: list[dict[str, Any]] = [{"messages": [asked | {"content": huge}]}, {"messages": [asked], "tools": [tool]}]

    def ask(route: str, **body: Any) -> httpx2.Response:
        return httpx2.post(f"{daemon.address}/v1/{route}", json=body, timeout=60)

    with ThreadPoolExecutor() as threads:
        other = threads.submit(ask, "completions", model=TALKER, prompt="x", max_tokens=30_000, deadline=30)
        wait_until(lambda: [row["state"] for row in live(daemon)] == ["decode"], 20, "another one's answer is written")
        for body in too_long:
            refused = ask("chat/completions", model="lmx/guide", **body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
            assert ask("completions", model=TALKER, prompt="x", max_tokens=3).status_code == 200
        assert not other.done() and [row["state"] for row in live(daemon)] == ["decode"]
        daemon.admin("POST", f"/admin/requests/{live(daemon)[0]['id']}/cancel")
    assert [found["model"] for found in daemon.admin("GET", "/admin/instances")] == [TALKER]


def test_connection_with_an_endless_head_is_closed(daemon: Daemon) -> None:
    connection = connect(daemon)
    connection.settimeout(20)
    connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n")
    begun = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(100) == b""
    assert 5 < time.monotonic() - begun < 15
    connection.close()


def test_idle_connections_take_no_place_from_requests(own_daemon: Daemon) -> None:
    own_daemon.config = "[server]\nmax_connections = 64\n[engine]\nwarm_spare = false\n"
    daemon = own_daemon.start()
    assert daemon.process is not None
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    process = psutil.Process(daemon.process.pid)
    before = process.num_fds()
    with many_files(), contextlib.ExitStack() as idle:
        asked = {"model": TALKER, "prompt": "x", "max_tokens": 3}
        for number in range(2000):
            connection = idle.enter_context(connect(daemon))
            if number % 3 == 0:
                connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: loc")
            if number % 200 == 0:
                answer = httpx2.post(f"{daemon.address}/v1/completions", json=asked, timeout=30)
                assert answer.status_code == 200
        assert process.num_fds() < before + 64 + 20
        assert httpx2.post(f"{daemon.address}/v1/completions", json=asked, timeout=30).status_code == 200
    with many_files(), contextlib.ExitStack() as idle:
        for _ in range(1000):
            admin = idle.enter_context(socket.socket(socket.AF_UNIX))
            admin.connect(str(daemon.home / "lmx.sock"))
        assert len(daemon.worker_pids()) == 1
        assert process.num_fds() < before + 64 + ADMIN_CONNECTIONS + 20


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM])
def test_signals_that_end_a_process_stop_the_daemon_in_order(own_daemon: Daemon, number: int) -> None:
    own_daemon.config = "[engine]\nwarm_spare = false\n"
    daemon = own_daemon.start()
    assert daemon.process is not None
    daemon.process.send_signal(number)
    assert daemon.process.wait(20) == 0
    assert not (daemon.home / "lmx.sock").exists()
    assert "stopped" in (daemon.home / "logs" / "daemon.log").read_text()


def test_connections_beyond_the_bound_get_503_while_all_others_are_served(own_daemon: Daemon) -> None:
    own_daemon.config = "[server]\nmax_connections = 8\n[engine]\nwarm_spare = false\n"
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    body = json.dumps({"model": TALKER, "prompt": "x", "max_tokens": 30_000, "stream": True}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with contextlib.ExitStack() as streams:
        for _ in range(8):
            stream = streams.enter_context(connect(daemon))
            stream.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: len(live(daemon)) == 8, 20, "the streams run")
        refused = httpx2.post(f"{daemon.address}/v1/completions", content=body, timeout=30)
        assert (refused.status_code, refused.headers["connection"]) == (503, "close")
        assert refused.json()["error"]["code"] == "too_many_connections" and "retry-after" in refused.headers
        assert len(live(daemon)) == 8
    wait_until(lambda: daemon.get("/v1/models")[0] == 200, 20, "places are free again")


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Allow this process more open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_error_without_mlx_has_the_repair_as_its_hint(own_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").write_text("raise ImportError('libmlx.so: cannot open shared object file')")
    own_daemon.environment["PYTHONPATH"] = str(tmp_path)
    daemon = own_daemon.start()
    answer = httpx2.post(f"{daemon.address}/v1/completions", json={"model": TALKER, "prompt": "x"}, timeout=30)
    error = answer.json()["error"]
    assert answer.status_code == 500 and error["code"] == "engine_missing" and "install" in error["hint"]
    assert daemon.get("/v1/models")[0] == 200


def test_a_model_that_keeps_crashing_is_refused_for_a_while(own_daemon: Daemon) -> None:
    own_daemon.config = "[engine]\nmax_restarts = 2\n"
    daemon = own_daemon.start()
    for _ in range(2):
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        (worker,) = daemon.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: daemon.admin("GET", "/admin/instances") == [], 5, "the worker is gone")
    answer = httpx2.post(f"{daemon.address}/v1/completions", json={"model": TALKER, "prompt": "x"}, timeout=30)
    assert answer.status_code == 503 and 200 < int(answer.headers["retry-after"]) <= 300
    error = answer.json()["error"]
    assert error["code"] == "crash_loop" and "crashed 2 times" in error["message"]
    status = daemon.lmx("status").stdout
    assert status.count("was ended by SIGKILL") == 2 and "happened" in status


def test_log_has_ids_of_requests_and_never_their_text(daemon: Daemon) -> None:
    body = {"model": TALKER, "prompt": "a very secret sentence", "max_tokens": 3}
    headers = {"x-request-id": "find-me"}
    assert httpx2.post(f"{daemon.address}/v1/completions", json=body, headers=headers, timeout=30).status_code == 200
    log = (daemon.home / "logs" / "daemon.log").read_text()
    assert "[find-me] /v1/completions" in log and "secret" not in log
    assert "loaded in" in log and "cpu" in log
