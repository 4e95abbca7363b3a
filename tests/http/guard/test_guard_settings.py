"""Tests of settings that take effect on a running guard."""

from typing import Any

from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.http.guard.guards import PublicGuard
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.settings.schema import ServerSettings, Settings
from lmx_daemon.settings.source import SettingsSource


async def status(guard: PublicGuard, *headers: tuple[bytes, bytes], method: str = "GET") -> int:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await guard({"type": "http", "method": method, "path": "/v1/models", "headers": list(headers)}, receive, send)
    return int(sent[0]["status"])


async def answer_ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_new_hosts_origins_and_body_sizes_are_in_force_for_the_next_request() -> None:
    source = SettingsSource(Settings())

    def server() -> ServerSettings:
        return source.current.server

    guard = PublicGuard(answer_ok, public_dialects(), server, "http://127.0.0.1:1234", BodyReader(server))
    host, origin = (b"host", b"mac.local"), (b"origin", b"https://app.example")
    body = ((b"content-length", b"100"), (b"content-type", b"application/json"))
    assert await status(guard, host) == 421
    source.replace(Settings(server=ServerSettings(allowed_hosts=("mac.local",))))
    assert await status(guard, host) == 200
    assert await status(guard, host, origin) == 403
    assert await status(guard, host, *body, method="POST") == 200
    source.replace(
        Settings(
            server=ServerSettings(
                allowed_hosts=("mac.local",), allowed_origins=("https://app.example",), max_body_bytes=99
            )
        )
    )
    assert await status(guard, host, origin) == 200
    assert await status(guard, host, *body, method="POST") == 413
