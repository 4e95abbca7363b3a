"""A fresh daemon and the commands that look at it open no connection to another machine and resolve no name."""

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.end_to_end.running import Daemon

HOOK = """
import json, os, sys
WATCHED = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
def note(event, arguments):
    if event in WATCHED:
        target = arguments[0] if event.startswith("socket.get") else arguments[-1]
        line = json.dumps([event, sys.argv[:2], target if isinstance(target, (list, tuple)) else str(target)])
        os.write(RECORD, line.encode() + b"\\n")
RECORD = os.open(os.environ["PYTHON_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
sys.addaudithook(note)
"""
"""Module that Python imports at its start: it writes each connection and each resolution of a name."""
QUIET_SECONDS = 5.0
"""Time in which the daemon is watched; its own repeated work comes every second."""


class Recorder:
    """A server that counts the connections to it."""

    def __init__(self) -> None:
        self.count = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self._listener.accept()[0].close()
            except OSError:
                return
            self.count += 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Yield the server that stands for the Hub and for a proxy."""
    made = Recorder()
    yield made
    made.close()


def is_outside(target: Any) -> bool:
    """Return whether an address, or a name to resolve, is not this machine's."""
    host = str(target[0] if isinstance(target, list) else target)
    if host.startswith("/") or host in ("", "None", "localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def test_addresses_of_other_machines_are_outside() -> None:
    assert all(map(is_outside, (["10.0.0.1", 443], "huggingface.co", ["example.org", 80], "8.8.8.8")))
    assert not any(map(is_outside, ("/tmp/h/lmx.sock", ["127.0.0.1", 1234], ["::1", 1, 0, 0], "localhost")))


def test_fresh_daemon_opens_no_connection_to_another_machine(
    own_daemon: Daemon, recorder: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    record = tmp_path / "record"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), recorder.url)
    own_daemon.environment |= proxies | {
        "PYTHONPATH": str(tmp_path),
        "PYTHON_RECORD": str(record),
        "HF_ENDPOINT": recorder.url,
        "NO_PROXY": "",
    }
    daemon = own_daemon.start()
    assert daemon.process is not None
    answer = daemon.lmx("chat", "lmx/guide", "-p", "hello")
    assert answer.returncode == 0, answer.stderr
    for command in ("status", "ps", "ls"):
        assert daemon.lmx(command).returncode == 0
    process, until = psutil.Process(daemon.process.pid), time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        for each in (process, *process.children(recursive=True)):
            remote = [found.raddr.ip for found in connections_of(each) if found.raddr]
            assert not [address for address in remote if is_outside([address])]
        time.sleep(0.1)
    seen = [json.loads(line) for line in record.read_text().splitlines()]
    assert [target for _, _, target in seen if str(target).endswith("lmx.sock")], "the hook saw the commands"
    assert [line for line in seen if is_outside(line[2])] == []
    assert recorder.count == 0


def connections_of(process: psutil.Process) -> list[Any]:
    """Return the internet connections of a process; none if it has ended."""
    try:
        return list(process.net_connections("inet"))
    except psutil.Error:
        return []
