"""Bodies of requests: a bound on their total size, and decoding that does not block the event loop.

One decode holds the interpreter lock, also in a thread. The values of a body are therefore counted before; a body that
passes is decoded in less than a tenth of a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from litestar import Request

from lmx_daemon.contract.errors import BusyError, RequestError
from lmx_daemon.http.decoding import decode
from lmx_daemon.settings.schema import ServerSettings
from lmx_daemon.storage.foreign.structure import exceeds

T = TypeVar("T")
R = TypeVar("R")
SMALL_BYTES = 64 * 1024
"""Size up to which a body is decoded on the event loop and does not count against the total bound."""
MAX_VALUES = 250_000
"""Maximum number of JSON values in one body, without the numbers in arrays.

The garbage collector, which runs during a decode, makes up three quarters of its time. A conversation of an agent with
1,000 messages, 2,000 tool calls and 100 tools has about 20,000 values, since its size is in its texts.
"""
MAX_NUMBERS = 1_200_000
"""Maximum count of numbers in arrays: a million token ids are accepted. The garbage collector ignores numbers."""
LIMITS = f"{MAX_VALUES} JSON values or {MAX_NUMBERS} numbers in arrays"
THREADS = 2
RETRY_SECONDS = 2.0
FIELDS = ("messages", "tools", "prompt", "logit_bias")


class RequestBytes:
    """Bytes of one request's body that count against the bound."""

    def __init__(self, bodies: "BodyReader") -> None:
        self._bodies = bodies
        self._size = 0
        self._counted = 0

    def add(self, size: int) -> None:
        """Count `size` more bytes of the body. Raise BusyError if the total of all bodies exceeds the bound."""
        self._size += size
        if self._size > SMALL_BYTES:
            self._bodies.take(self._size - self._counted)
            self._counted = self._size

    def release(self) -> None:
        """Release all counted bytes at the end of the request."""
        self._bodies.give(self._counted)
        self._counted = 0


class BodyReader:
    """The bytes of all requests under way, and the threads that decode them. Used on the event loop only."""

    def __init__(self, settings: Callable[[], ServerSettings]) -> None:
        self._settings = settings
        self._taken = 0
        self._threads = ThreadPoolExecutor(THREADS, "decode")

    def take(self, size: int) -> None:
        """Count bytes, or raise BusyError above the bound. One body of the permitted size is always accepted."""
        settings = self._settings()
        most = max(settings.max_bodies_bytes, settings.max_body_bytes)
        if self._taken + size > most:
            raise BusyError(
                f"the bodies of all requests under way have more than {most} bytes",
                hint="try again soon; the bound is [server] max_bodies_bytes",
                retry_after=RETRY_SECONDS,
            )
        self._taken += size

    def give(self, size: int) -> None:
        """Release the counted bytes."""
        self._taken -= size

    async def decoded(self, request: "Request[Any, Any, Any]", kind: type[T], then: Callable[[T], R]) -> R:
        """Return the result of `then` for the decoded body. Both run in a thread unless the body is small.

        Raise RequestError that names the field, and any error of `then`.
        """
        data = b"".join([chunk async for chunk in request.stream()])
        if len(data) <= SMALL_BYTES:
            return then(decode(data, kind))
        work: Awaitable[R] = asyncio.get_running_loop().run_in_executor(self._threads, _decoded, data, kind, then)
        return await work


def _decoded(data: bytes, kind: type[T], then: Callable[[T], R]) -> R:
    check_structure(data)
    return then(decode(data, kind))


def check_structure(data: bytes) -> None:
    """Raise RequestError for a body with more values or numbers than allowed. Name the field that exceeds the limit."""
    at = exceeds(data, MAX_VALUES, MAX_NUMBERS)
    if at is None:
        return
    param = max(FIELDS, key=lambda name: data.rfind(f'"{name}"'.encode(), 0, at))
    if f'"{param}"'.encode() not in data[:at]:
        raise RequestError(f"the body holds more than {LIMITS}")
    raise RequestError(f"{param}: the body holds more than {LIMITS} up to here", param=param)
