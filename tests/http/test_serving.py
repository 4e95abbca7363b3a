"""Translation of events into the bytes of a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Loading, Prefill, Queued, Started
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.http import serving
from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder
from lmx_daemon.http.serving import idle_bytes, stream_of
from lmx_daemon.residency.requests.active_request import ActiveRequest


class Pool:
    def release(self, active: ActiveRequest) -> None:
        pass


async def test_progress_of_a_waiting_request_is_sent_as_comments() -> None:
    active = ActiveRequest(Generate(id="r", model="m", prompt=Text(text="x")), lambda _: None)
    opening: list[Any] = [Loading(id="r", model="m"), Loading(id="r", model="m", stage="weights\n\n", fraction=0.42)]
    pool: Any = Pool()
    stream = stream_of(pool, active, OpenAIChat(), ChatEncoder("id", "m"), opening)
    assert await anext(stream) == b": loading weights 42%\n\n"
    active.put(Queued(id="r", position=2))
    assert await anext(stream) == b": queued, position 2\n\n"
    active.put(Finished(id="r", endings=(Ending(reason="stop"),)))
    assert b"".join([part async for part in stream]).endswith(b"data: [DONE]\n\n")


def prefilling(active: ActiveRequest) -> AsyncIterator[bytes]:
    pool: Any = Pool()
    opening: list[Event] = [
        Started(id="r", prompt_tokens=900, cached_tokens=0, seed=1),
        Prefill(id="r", done=100, total=900),
    ]
    return stream_of(pool, active, OpenAIChat(), ChatEncoder("id", "m"), opening)


async def written_after(stream: AsyncIterator[bytes], active: ActiveRequest, *events: Event) -> list[bytes]:
    """Return the bytes that each event causes; a piece of the answer follows them."""
    found: list[bytes] = []

    async def read() -> None:
        async for part in stream:
            found.append(part)

    reader = asyncio.ensure_future(read())
    for event in (*events, Delta(id="r", content="Hello", tokens=1)):
        for _ in range(5):
            await asyncio.sleep(0)
        active.put(event)
    active.put(Finished(id="r", endings=(Ending(reason="stop"),)))
    await reader
    assert b"Hello" in found.pop()
    return found


PIECES = [Prefill(id="r", done=done, total=900) for done in (200, 300, 400)]


async def test_progress_of_a_long_prefill_keeps_the_stream_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PREFILL_SECONDS", 0.0)
    active = ActiveRequest(Generate(id="r", model="m", prompt=Text(text="x")), lambda _: None)
    stream = prefilling(active)
    assert await anext(stream) == b": prompt, 100 of 900 tokens\n\n"
    expected = [f": prompt, {piece.done} of 900 tokens\n\n".encode() for piece in PIECES]
    assert await written_after(stream, active, *PIECES) == expected


async def test_progress_events_are_limited_in_rate() -> None:
    active = ActiveRequest(Generate(id="r", model="m", prompt=Text(text="x")), lambda _: None)
    stream = prefilling(active)
    assert await anext(stream)
    assert await written_after(stream, active, *PIECES) == []


def test_empty_events_do_not_suppress_keep_alive_bytes() -> None:
    events: list[Event] = [Started(id="r", prompt_tokens=900, cached_tokens=0, seed=1)]
    assert idle_bytes(OpenAIChat(), events, 5.0) == b""
    assert idle_bytes(OpenAIChat(), events, 10.0) == OpenAIChat.keep_alive
