"""The public port of a daemon as a hostile client sees it: raw bytes in, status lines out."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.end_to_end.running import Daemon

CONFIG = """
[server]
allowed_hosts = ["studio.local"]
allowed_origins = ["https://app.example"]
max_body_bytes = 1_000_000
stall_seconds = 2.0
[engine]
warm_spare = false
"""
SILENCE_SECONDS = 1.5
"""Seconds of silence after which a connection counts as finished."""
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
BODY = b'{"model":"none/such","prompt":"x"}'
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


@pytest.fixture(scope="module")
def daemon(cache: object) -> Iterator[Daemon]:
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)}, config=CONFIG).start()
    yield running
    log = (running.home / "logs" / "daemon.log").read_text()
    assert '"level":"error"' not in log and "Traceback" not in log
    assert running.stop() == 0


def connect(daemon: Daemon, receive_bytes: int = 0) -> socket.socket:
    host, port = daemon.address.removeprefix("http://").split(":")
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(30)
    connection.connect((host, int(port)))
    return connection


def raw(daemon: Daemon, *pieces: bytes) -> bytes:
    """Return the answer of the port to `pieces`, until it closes the connection or is silent."""
    with connect(daemon) as connection:
        answer = b""
        with suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.02)
            connection.settimeout(SILENCE_SECONDS)
            while part := connection.recv(65536):
                answer += part
        return answer


def in_pieces(data: bytes) -> list[bytes]:
    """Return the first 68 KB of `data` in pieces that are read one by one."""
    return [data[place : place + 4096] for place in range(0, 69_632, 4096)]


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in STATUS_LINE.findall(answer) if found != b"100"]


def memory(daemon: Daemon) -> int:
    assert daemon.process is not None
    return int(psutil.Process(daemon.process.pid).memory_info().rss)
