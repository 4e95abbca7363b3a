"""Requests that ask for another protocol: they are answered in HTTP/1.1, with their bodies."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from lmx_daemon.http.server.connections import ConnectionLimit
from lmx_daemon.http.server.listeners import bind_public
from lmx_daemon.http.server.sockets import protocol_for, without_upgrade

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
HEAD = b"POST /here HTTP/1.1\r\nHost: localhost\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path and the body of the request."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode() + b"=" + body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    protocol = protocol_for(lambda: 5.0, ConnectionLimit(lambda: 16))
    server = uvicorn.Server(uvicorn.Config(echo, http=protocol, lifespan="off", log_config=None, ws="none"))
    listeners = bind_public("127.0.0.1", 0)
    task = asyncio.create_task(server.serve(sockets=listeners))
    yield listeners[0].getsockname()[1]
    server.should_exit = True
    await task


async def answers(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.05)
    found = b""
    try:
        while part := await asyncio.wait_for(reader.read(65536), 1):
            found += part
    except TimeoutError:
        pass
    writer.close()
    return found


@pytest.mark.parametrize(
    "length", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
async def test_request_for_h2c_is_answered_with_its_body(port: int, length: bytes) -> None:
    whole = HEAD + UPGRADE + length
    assert b"/here=hello" in await answers(port, whole)
    assert b"/here=hello" in await answers(port, *(whole[n : n + 40] for n in range(0, len(whole), 40)))
    twice = await answers(port, whole, whole)
    assert twice.count(b"/here=hello") == 2 and twice.count(b"HTTP/1.1 200") == 2


async def test_connect_is_refused(port: int) -> None:
    assert b" 400 " in await answers(port, b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n")


async def test_upgrade_smuggles_no_second_request(port: int) -> None:
    found = await answers(port, HEAD + UPGRADE + b"Content-Length: 5\r\n\r\nhello" + HEAD + b"\r\n")
    assert found.count(b"HTTP/1.1 ") == 1


def test_other_wishes_of_the_connection_are_kept() -> None:
    head = without_upgrade("GET / HTTP/1.1", [(b"connection", b"close, Upgrade"), (b"upgrade", b"h2c"), (b"a", b"b")])
    assert head == b"GET / HTTP/1.1\r\nconnection: close\r\na: b\r\n\r\n"
