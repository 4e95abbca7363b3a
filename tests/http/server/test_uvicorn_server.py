"""The server of one app: it wakes seldom while it is idle, and ends at once."""

import asyncio
from typing import Any

from lmx_daemon.http.server import uvicorn_server
from lmx_daemon.http.server.connections import ConnectionLimit
from lmx_daemon.http.server.listeners import bind_public
from lmx_daemon.http.server.uvicorn_server import UvicornServer


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Counting(UvicornServer):
    ticks = 0

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        return await super().on_tick(counter)


async def test_idle_server_refreshes_the_date_only_and_ends_when_it_is_asked_to(monkeypatch: Any) -> None:
    monkeypatch.setattr(uvicorn_server, "DATE_SECONDS", 3600.0)
    server = Counting(app, lambda: 30.0, ConnectionLimit(lambda: 8))
    sockets = bind_public("127.0.0.1", 0)
    running = asyncio.create_task(server.serve(sockets=sockets))
    while not server.ticks:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*sockets[0].getsockname()[:2])
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b"204" in answer and b"date: " in answer
    assert server.ticks == 1
    server.should_exit = True
    await running  # at once, and not after the next refresh of the date
    assert server.ticks == 2
    writer.close()
