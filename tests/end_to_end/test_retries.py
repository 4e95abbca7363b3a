"""A client that leaves during the prefill of a long prompt, and sends it again."""

import socket
from typing import Any

import httpx2
import msgspec
import pytest

from tests.end_to_end.running import Daemon, wait_until

TALKER = "tests/talker"
PROMPT = [(7 * place + place // 50) % 400 + 3 for place in range(8_000)]
BODY = {"model": TALKER, "prompt": PROMPT, "max_tokens": 1, "temperature": 0}


def rows_of(daemon: Daemon) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = daemon.admin("GET", "/admin/requests")
    return rows


def send(daemon: Daemon, body: dict[str, Any]) -> socket.socket:
    """Return the connection of a request whose answer is not read."""
    content = msgspec.json.encode(body)
    host, _, port = daemon.address.rpartition("/")[2].partition(":")
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection((host, int(port)))
    connection.sendall(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


@pytest.mark.parametrize("streamed", (True, False))
def test_retry_of_a_prompt_continues_the_prefill_that_its_client_left(own_daemon: Daemon, streamed: bool) -> None:
    daemon = own_daemon.start()
    daemon.admin("POST", "/admin/models/load", {"model": TALKER})
    connection = send(daemon, BODY | {"stream": streamed})
    wait_until(lambda: any((row.get("progress") or 0) > 0 for row in rows_of(daemon)), 60, "the prefill has begun")
    connection.close()
    wait_until(lambda: not rows_of(daemon), 60, "the request ends")
    answer = httpx2.post(f"{daemon.address}/v1/completions", json=BODY, timeout=120).json()
    cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached < len(PROMPT) - 64, "a part is reused: the client left before the end of the prefill"
