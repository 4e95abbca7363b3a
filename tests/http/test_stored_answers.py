"""Stored answers: written before the client receives the end, and separate for each principal."""

from collections.abc import Sequence
from typing import Any

from lmx_daemon.contract.events import Delta, Ending, Event, Finished, Started
from lmx_daemon.contract.requests import Generate, Text
from lmx_daemon.http import serving
from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.openai_chat.encoders import CompletionEncoder
from lmx_daemon.residency.requests.active_request import ActiveRequest

EVENTS = [
    Started(id="r", prompt_tokens=1, cached_tokens=0, seed=1),
    Delta(id="r", content="Hi", tokens=1),
    Finished(id="r", endings=(Ending(reason="stop"),)),
]


class Released:
    def release(self, active: ActiveRequest) -> None:
        return None


async def test_finish_sees_all_events_before_the_last_bytes_are_sent() -> None:
    active = ActiveRequest(Generate(id="r", model="m", prompt=Text(text="x")), lambda _: None)
    seen: list[Event] = []

    async def finish(events: Sequence[Event]) -> None:
        seen.extend(events)

    pool: Any = Released()
    stream = serving.stream_of(pool, active, OpenAIChat(), CompletionEncoder("r", "m"), [], finish)
    active.put(EVENTS[0])
    active.put(EVENTS[1])
    assert await anext(stream)
    parts = [await anext(stream)]
    assert not seen
    active.put(EVENTS[2])
    async for part in stream:
        assert seen == EVENTS
        parts.append(part)
    assert b"[DONE]" in parts[-1]
