"""JSON lines, the form of the admin socket's streams."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from litestar.response import Stream

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event, Failed

STREAM_TYPE = "application/jsonl"


def line(value: Any) -> bytes:
    """Return `value` as one line of JSON."""
    return msgspec.json.encode(value) + b"\n"


def lines(source: AsyncIterator[bytes]) -> Stream:
    """Return the answer that streams `source`."""
    return Stream(source, media_type=STREAM_TYPE)


async def lines_of(updates: AsyncGenerator[Any]) -> Stream:
    """Return the answer that streams `updates` as lines.

    An error before the first update is raised, so that it becomes a status code. A client that disconnects closes
    `updates`.
    """
    first = await anext(updates)

    async def encoded() -> AsyncIterator[bytes]:
        async with aclosing(updates):
            yield line(first)
            async for update in updates:
                yield line(update)

    return lines(encoded())


class EventLines:
    """Encoder of the admin socket: each event is a line."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return one line for each event."""
        return b"".join(map(line, events))

    def failed(self, error: LmxError) -> bytes:
        """Return the line of a Failed event."""
        return line(Failed(id=self._request_id, error=error.body()))

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return all events as lines; the admin socket always streams."""
        return self.stream(events)
