"""From a request to an HTTP answer: when the headers go out, what keeps a stream alive, and who notices a client leave.

The same for every dialect, which brings `stream(events) -> bytes` and `whole(events, choices)`.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol, TypeVar

from litestar import Request, Response
from litestar.response import Stream

from lmx_daemon.contract.errors import CancelledError, error_from
from lmx_daemon.contract.generation import Event, Failed, Generate, Loading, Prefill, Queued
from lmx_daemon.http.dialects.openai_chat.encoders import KEEP_ALIVE
from lmx_daemon.residency.active_request import ActiveRequest
from lmx_daemon.residency.pool import Pool

T = TypeVar("T")
OPENING_SECONDS = 2.0
"""So long a stream's headers wait for the first decisive event: until then a failure is still a status code."""
KEEP_ALIVE_SECONDS = 10.0
PREFILL_SECONDS = 1.0
"""Between two comments on one prompt: its pieces are done faster than anybody reads."""
AnyRequest = Request[Any, Any, Any]


class AnswerEncoder(Protocol):
    def stream(self, events: list[Event]) -> bytes: ...

    def whole(self, events: list[Event], choices: int) -> dict[str, Any]: ...


async def serve(
    request: AnyRequest, pool: Pool, asked: Generate, encoder: AnswerEncoder, stream: bool
) -> Response[Any]:
    """Raises what fails before the first byte; later failures are events of the stream."""
    active = pool.submit(asked)
    try:
        if stream:
            opening = await unless_left(request, open_stream(active))
            return Stream(
                stream_of(pool, active, encoder, opening),
                media_type="text/event-stream; charset=utf-8",
                headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
            )
        events = await unless_left(request, all_events(active))
    except BaseException:
        pool.release(active)
        raise
    pool.release(active)
    last = events[-1]
    if isinstance(last, Failed):
        raise error_from(last.error)
    return Response(encoder.whole(events, asked.choices), media_type="application/json")


async def open_stream(active: ActiveRequest) -> list[Event]:
    """The first events, up to a decisive one or the end of patience. Raises a failure that comes first."""
    deadline = time.monotonic() + OPENING_SECONDS
    opening: list[Event] = []
    while (patience := deadline - time.monotonic()) > 0:
        events = await active.take(patience)
        opening += events
        for event in events:
            if isinstance(event, Failed):
                raise error_from(event.error)
        if any(not isinstance(event, Queued | Loading) for event in events):
            break
    return opening


async def stream_of(
    pool: Pool, active: ActiveRequest, encoder: AnswerEncoder, opening: list[Event]
) -> AsyncIterator[bytes]:
    """Everything that is ready leaves in one write. Closing the iterator early cancels the request."""
    try:
        yield encoder.stream(opening) or comment(opening) or KEEP_ALIVE
        written = time.monotonic()
        while not active.read:
            events = await active.take(KEEP_ALIVE_SECONDS)
            if data := encoder.stream(events) or comment(events, time.monotonic() - written):
                yield data
                written = time.monotonic()
    finally:
        pool.release(active)


def comment(events: list[Event], silent: float = math.inf) -> bytes:
    """What clients skip, and a person with curl reads: how far a request is that waits. Nothing was written for
    `silent` seconds."""
    match events[-1] if events else None:
        case None:
            return KEEP_ALIVE
        case Loading(stage=stage, fraction=fraction):
            done = "" if fraction is None else f" {fraction:.0%}"
            return f": loading {' '.join(stage.split())}{done}\n\n".encode()
        case Queued(position=position):
            return f": queued, {position} in line\n\n".encode()
        case Prefill(done=done, total=total):
            return f": prompt, {done} of {total} tokens\n\n".encode() if silent >= PREFILL_SECONDS else b""
        case _:  # events may come and say nothing
            return KEEP_ALIVE if silent >= KEEP_ALIVE_SECONDS else b""


async def all_events(active: ActiveRequest) -> list[Event]:
    events: list[Event] = []
    while not active.read:
        events += await active.take()
    return events


async def unless_left(request: AnyRequest, work: Awaitable[T]) -> T:
    """`work`, given up when the client goes: the framework does not notice that before it writes."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait([task, left], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise CancelledError("the client went away")
        return task.result()
    finally:
        for pending in (task, left):
            pending.cancel()


async def disconnected(request: AnyRequest) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
