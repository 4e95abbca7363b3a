"""Misuse by clients at inconvenient moments. It must not affect other clients, or leave a request or a process."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.end_to_end.running import Daemon, alive, wait_until

TALKER = "tests/talker"
GUIDE = "lmx/guide"
HUGE = 10**30
DEEP: Any = json.loads('{"a":' * 400 + "1" + "}" * 400)


def tool(parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


class TestValuesOutOfRange:
    """Each value is refused by its field. No request stays in the registry, where it would keep its model loaded."""

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"top_k": HUGE}, "top_k"),
            ({"max_tokens": HUGE}, "max_tokens"),
            ({"logit_bias": {str(HUGE): 1}}, "logit_bias"),
            ({"logit_bias": {"\N{ARABIC-INDIC DIGIT FIVE}": 1}}, "logit_bias"),
            (tool(DEEP), "tools[0].function.parameters"),
            (tool({"type": "integer", "maximum": HUGE}), "tools[0].function.parameters"),
        ],
        ids=["top_k", "max_tokens", "logit_bias", "digits that are not ASCII", "deep", "number in a schema"],
    )
    def test_chat_is_refused_by_field(self, daemon: Daemon, fields: dict[str, Any], param: str) -> None:
        body = {"model": TALKER, "messages": [{"role": "user", "content": "x"}], "max_tokens": 2} | fields
        daemon.admin("POST", "/admin/models/load", {"model": TALKER})
        answer = httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=30)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == param
        assert daemon.admin("GET", "/admin/requests") == []

    @pytest.mark.parametrize("fields", [{"context_length": 0}, {"slots": 0}, {"slots": 2**40}, {"context_length": -5}])
    def test_load_of_an_impossible_size_is_refused(self, daemon: Daemon, fields: dict[str, Any]) -> None:
        for route in ("load", "plan"):
            refused = daemon.admin("POST", f"/admin/models/{route}", {"model": GUIDE} | fields)
            assert refused["code"] == "invalid_request" and refused["param"] == next(iter(fields))

    def test_token_id_out_of_range_is_refused(self, daemon: Daemon) -> None:
        body = {"model": TALKER, "prompt": [HUGE], "max_tokens": 2}
        answer = httpx2.post(f"{daemon.address}/v1/completions", json=body, timeout=30)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "prompt[0]"

    def test_deeply_nested_arguments_of_a_call_are_text(self, daemon: Daemon) -> None:
        call = {"id": "a", "function": {"name": "f", "arguments": '{"a":' * 5000 + "1" + "}" * 5000}}
        body = {"model": TALKER, "messages": [{"role": "assistant", "tool_calls": [call]}], "max_tokens": 2}
        assert httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=120).status_code == 200


def test_an_id_is_used_again_while_its_first_request_is_being_cancelled(daemon: Daemon) -> None:
    headers = {"x-request-id": "again"}
    long = {"model": TALKER, "prompt": "x", "max_tokens": 30_000, "temperature": 1.0, "stream": True}
    short = {"model": TALKER, "prompt": "x", "max_tokens": 5}
    for _ in range(10):
        with httpx2.stream(
            "POST", f"{daemon.address}/v1/completions", json=long, headers=headers, timeout=30
        ) as answer:
            lines = answer.iter_lines()  # a reference is kept: the response closes with it
            next(lines)
        answer = httpx2.post(f"{daemon.address}/v1/completions", json=short, headers=headers, timeout=30)
        assert answer.json()["choices"][0]["finish_reason"] == "length"
        assert answer.json()["usage"]["completion_tokens"] == 5


def test_a_worker_that_hangs_while_its_model_is_unloaded_is_ended(own_daemon: Daemon) -> None:
    own_daemon.config = "[engine]\nhang_seconds = 3.0\nleave_seconds = 0.5\nwarm_spare = false\n"
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    body = {"model": TALKER, "prompt": "x", "max_tokens": 30_000, "temperature": 1.0}
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(httpx2.post, f"{daemon.address}/v1/completions", json=body, timeout=30)
        wait_until(
            lambda: [row["state"] for row in daemon.admin("GET", "/admin/requests")] == ["decode"], 10, "it runs"
        )
        (worker,) = daemon.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        unloaded = threads.submit(daemon.admin, "POST", "/admin/models/unload", {"id": TALKER})
        assert asked.result(10).json()["error"]["code"] == "worker_hung"
        assert [instance["model"] for instance in unloaded.result(10)] == [TALKER]
    assert not alive(worker)


def test_a_model_whose_worker_dies_while_it_loads_is_refused_for_a_while(own_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "mlx_lm").mkdir()
    (tmp_path / "mlx_lm" / "__init__.py").write_text("import os\nos._exit(7)\n")
    own_daemon.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    own_daemon.config = "[engine]\nmax_restarts = 2\nwarm_spare = false\n"
    daemon = own_daemon.start()
    answers = []
    for _ in range(3):
        answer = httpx2.post(f"{daemon.address}/v1/completions", json={"model": TALKER, "prompt": "x"}, timeout=30)
        answers.append((answer.status_code, answer.json()["error"]["message"]))
    assert all(status == 500 and "exit code 7" in message for status, message in answers[:2])
    assert answers[2][0] == 503 and "crashed 2 times" in answers[2][1]


def test_a_model_unloaded_before_its_turn_to_load_leaves_no_process(own_daemon: Daemon) -> None:
    own_daemon.config = "[engine]\nwarm_spare = false\n"
    daemon = own_daemon.start()
    assert daemon.process is not None
    first = threading.Thread(target=daemon.admin, args=("POST", "/admin/models/load", {"model": GUIDE}))
    first.start()
    wait_until(daemon.worker_pids, 10, "the first load has begun")
    second = threading.Thread(target=daemon.admin, args=("POST", "/admin/models/load", {"model": TALKER}))
    second.start()
    wait_until(lambda: len(daemon.admin("GET", "/admin/instances")) == 2, 10, "the second load waits")
    daemon.admin("POST", "/admin/models/unload", {"id": TALKER})
    first.join()
    second.join()
    daemon.admin("POST", "/admin/models/unload", {"id": GUIDE})
    with pytest.raises(AssertionError, match="not within"):
        wait_until(psutil.Process(daemon.process.pid).children, 1.5, "a process of the unloaded model")


def test_a_spare_that_is_killed_is_replaced(own_daemon: Daemon) -> None:
    daemon = own_daemon.start()
    assert daemon.process is not None
    pid = daemon.process.pid
    (spare,) = psutil.Process(pid).children()
    spare.kill()

    def is_replaced() -> bool:
        workers = [child for child in psutil.Process(pid).children() if child.pid != spare.pid]
        return bool(workers) and daemon.admin("GET", "/admin/status")["spare"] == "warm"

    wait_until(is_replaced, 30, "a new spare is warm")


def test_a_load_that_fails_leaves_a_spare_for_the_next(own_daemon: Daemon) -> None:
    own_daemon.config = "[engine]\nleave_seconds = 0.5\n"
    daemon = own_daemon.start()
    assert daemon.process is not None
    wait_until(lambda: daemon.admin("GET", "/admin/status")["spare"] == "warm", 20, "the spare is warm")
    (spare,) = psutil.Process(daemon.process.pid).children()
    spare.suspend()
    with ThreadPoolExecutor() as threads:
        loaded = threads.submit(daemon.admin, "POST", "/admin/models/load", {"model": TALKER})
        wait_until(daemon.worker_pids, 10, "the load has begun")
        daemon.admin("POST", "/admin/models/unload", {"id": TALKER})
        assert "cancelled" in str(loaded.result(10))
    wait_until(lambda: daemon.admin("GET", "/admin/status")["spare"] == "warm", 20, "a new spare is warm")


def test_disconnect_within_a_body_is_not_logged_as_an_error(own_daemon: Daemon) -> None:
    own_daemon.config = "[engine]\nwarm_spare = false\n"
    daemon = own_daemon.start()
    host, port = daemon.address.removeprefix("http://").split(":")
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for rest in (b"Content-Length: 1000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + rest)
            time.sleep(0.3)
    answer = httpx2.post(f"{daemon.address}/v1/completions", json={"model": "none/such", "prompt": "x"}, timeout=30)
    assert answer.status_code == 404
    assert '"level":"error"' not in (daemon.home / "logs" / "daemon.log").read_text()


def test_disconnect_is_detected_while_a_pipelined_request_waits(daemon: Daemon) -> None:
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    host, port = daemon.address.removeprefix("http://").split(":")
    body = json.dumps({"model": TALKER, "prompt": "x", "max_tokens": 30_000, "temperature": 1.0}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(whole * 2)
        wait_until(lambda: daemon.admin("GET", "/admin/requests"), 10, "the first one runs")
    wait_until(lambda: not daemon.admin("GET", "/admin/requests"), 3, "the request is gone")


def test_daemon_recovers_from_a_lack_of_file_descriptors(own_daemon: Daemon) -> None:
    own_daemon.config = "[engine]\nwarm_spare = false\n"
    daemon = own_daemon.start()
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 3, hard))
    host, port = daemon.address.removeprefix("http://").split(":")
    connections = [socket.create_connection((host, int(port))) for _ in range(20)]
    time.sleep(2.5)  # enough for an inspection of the supervisor and a snapshot of the monitor
    for connection in connections:
        connection.close()
    process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
    daemon.admin("POST", "/admin/models/load", {"model": TALKER, "ttl": 0.1})
    wait_until(lambda: daemon.admin("GET", "/admin/instances") == [], 20, "the supervisor unloads the idle model")
