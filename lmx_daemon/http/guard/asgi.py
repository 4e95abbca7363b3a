"""ASGI wrappers of an app: bounded bodies, headers added to an answer, and answers without the app."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lmx_daemon.contract.errors import TooLargeError
from lmx_daemon.http.dialect import ErrorResponse
from lmx_daemon.http.server.body_reader import RequestBytes

AsgiScope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, AsgiReceive, AsgiSend], Awaitable[None]]
JSON = (b"content-type", b"application/json")


class BuiltLater:
    """An app that is built at its first request, so that the start of the daemon does not wait for it.

    A thread of its own builds it: streams continue, and a disk that does not answer holds all others.
    """

    def __init__(self, make: Callable[[], AsgiApp]) -> None:
        self._make = make
        self._app: asyncio.Future[AsgiApp] | None = None

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if self._app is None:
            thread = ThreadPoolExecutor(1)
            self._app = asyncio.get_running_loop().run_in_executor(thread, self._make)
            thread.shutdown(wait=False)
        app = await asyncio.shield(self._app)  # a client that disconnects does not cancel the work for others
        await app(scope, receive, send)


def bounded(receive: AsgiReceive, limit: int, held: RequestBytes) -> AsgiReceive:
    """Return `receive` that counts the body's bytes in `held`, and raises TooLargeError above `limit` bytes."""
    taken = 0

    async def bounded_receive() -> AsgiMessage:
        nonlocal taken
        message = await receive()
        size = len(message.get("body", b""))
        taken += size
        if taken > limit:
            raise TooLargeError(f"the body has more than {limit} bytes", hint="[server] max_body_bytes")
        held.add(size)
        return message

    return bounded_receive


def with_headers(
    send: AsgiSend,
    extra: list[tuple[bytes, bytes]],
    found: Mapping[bytes, bytes],
    responded: Callable[[int], None] = lambda status: None,
) -> AsgiSend:
    """Return `send` that adds `extra`, and the headers that `found` has when the answer begins.

    `responded` is called with the status of the answer.
    """

    async def send_with_headers(message: AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *extra, *found.items()]
            responded(message["status"])
        await send(message)

    return send_with_headers


async def refuse(
    send: AsgiSend, refusal: ErrorResponse, headers: Mapping[str, str], extra: list[tuple[bytes, bytes]]
) -> None:
    """Send the answer to a request that the guard refuses."""
    more = [(name.encode(), value.encode()) for name, value in headers.items()]
    await answer(send, refusal.status, refusal.body, [*extra, *more, JSON])


async def answer(send: AsgiSend, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


def first(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first value of a header; None if it is missing."""
    return next((value.decode("latin-1") for key, value in headers if key == name), None)
