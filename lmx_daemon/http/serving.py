"""Conversion of a request's events to an HTTP answer: the moment of the headers, keep-alive of streams, disconnects.

It is the same for every dialect. The dialect and its encoder produce the bytes.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from litestar import Response
from litestar.response import Stream

from lmx_daemon.contract.errors import CancelledError, error_from
from lmx_daemon.contract.generation.events import Event, Failed, Finished, Loading, Prefill, Queued
from lmx_daemon.contract.generation.requests import Generate
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialect import AnswerEncoder, Dialect
from lmx_daemon.residency.pool import Pool

T = TypeVar("T")
OPENING_SECONDS = 2.0
"""Longest wait of a stream's headers for an event that decides its status; a failure until then is a status code."""
KEEP_ALIVE_SECONDS = 10.0
PREFILL_SECONDS = 1.0
"""Shortest time between two reports on the prefill of one prompt."""

Finish = Callable[[Sequence[Event]], Awaitable[None]]


class Reading(Protocol):
    """The events of one answer: those of a request, or of several."""

    @property
    def read(self) -> bool:
        """Return whether the terminal event has been read."""

    async def take(self, patience: float | None = None) -> list[Event]:
        """Return the events that have arrived; [] if none arrives within `patience` seconds."""


class Releasing(Protocol):
    """Owner of requests, a pool for example."""

    def release(self, active: Any) -> None:
        """End the reading of a request; one that still runs is cancelled."""


async def ignore(events: Sequence[Event]) -> None:
    """Do nothing at the end of an answer."""


async def serve(
    request: AnyRequest, pool: Pool, generate: Generate, encoder: AnswerEncoder, stream: bool, finish: Finish = ignore
) -> Response[Any]:
    """Return the answer to `generate`. Raise what fails before the first byte; later failures end the stream.

    `finish` is awaited with all events of a complete answer, before the client receives its end.
    """
    return await answered(request, pool, pool.submit(generate), generate.choices, encoder, stream, finish)


async def answered(
    request: AnyRequest,
    pool: Releasing,
    active: Reading,
    choices: int,
    encoder: AnswerEncoder,
    stream: bool,
    finish: Finish = ignore,
) -> Response[Any]:
    """Return the answer that `active` reads, as `serve` does."""
    dialect = context_of(request).dialect
    try:
        if stream:
            opening = await unless_disconnected(request, opening_events(active))
            return Stream(
                stream_of(pool, active, dialect, encoder, opening, finish),
                media_type=dialect.stream_type,
                headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
            )
        events = await unless_disconnected(request, all_events(active))
    except BaseException:
        pool.release(active)
        raise
    pool.release(active)
    last = events[-1]
    if isinstance(last, Failed):
        raise error_from(last.error)
    await finish(events)
    return Response(encoder.whole(events, choices), media_type="application/json")


async def opening_events(active: Reading) -> list[Event]:
    """Return the first events, up to one that decides the status or for OPENING_SECONDS. Raise a failure among them."""
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
    pool: Releasing,
    active: Reading,
    dialect: Dialect,
    encoder: AnswerEncoder,
    opening: list[Event] | None = None,
    finish: Finish = ignore,
) -> AsyncIterator[bytes]:
    """Yield the stream's bytes, all that are ready in one piece. Closing the iterator early cancels the request.

    `opening` holds events that were taken before; for an empty list, keep-alive bytes are sent at once.
    """
    seen: list[Event] = []
    """All events, collected only for a `finish` that reads them."""

    async def finished(events: list[Event]) -> None:
        if finish is not ignore:
            seen.extend(events)
            if events and isinstance(events[-1], Finished):
                await finish(seen)

    try:
        if opening is not None:
            await finished(opening)
            yield encode(encoder, opening) or idle_bytes(dialect, opening)
        written = time.monotonic()
        while not active.read:
            events = await active.take(KEEP_ALIVE_SECONDS)
            await finished(events)
            if data := encode(encoder, events) or idle_bytes(dialect, events, time.monotonic() - written):
                yield data
                written = time.monotonic()
    finally:
        pool.release(active)


def encode(encoder: AnswerEncoder, events: list[Event]) -> bytes:
    """Return the bytes that `events` add to a stream. A Failed event, which is the last one, ends it."""
    if events and isinstance(failed := events[-1], Failed):
        return encoder.stream(events[:-1]) + encoder.failed(error_from(failed.error))
    return encoder.stream(events)


def idle_bytes(dialect: Dialect, events: list[Event], silent: float = math.inf) -> bytes:
    """Return the bytes of a stream for `events` without output: progress, or keep-alive.

    `silent` is the number of seconds since the last write. It limits how often progress of a prefill is reported.
    """
    match events[-1] if events else None:
        case None:
            return dialect.keep_alive
        case Loading() | Queued() as event:
            return dialect.progress(event) or dialect.keep_alive
        case Prefill() as event:
            return dialect.progress(event) or dialect.keep_alive if silent >= PREFILL_SECONDS else b""
        case _:  # an event such as Started has no bytes of its own
            return dialect.keep_alive if silent >= KEEP_ALIVE_SECONDS else b""


async def all_events(active: Reading) -> list[Event]:
    """Return every event of a request, once the last one has arrived."""
    events: list[Event] = []
    while not active.read:
        events += await active.take()
    return events


async def unless_disconnected(request: AnyRequest, work: Awaitable[T]) -> T:
    """Return the result of `work`. Cancel it and raise CancelledError if the client disconnects before.

    The framework detects a disconnect only while it writes.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait([task, left], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise CancelledError("the client disconnected")
        return task.result()
    finally:
        for pending in (task, left):
            pending.cancel()


async def disconnected(request: AnyRequest) -> None:
    """Return when the client has disconnected."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
