"""Stored answers: written before the client receives the end, and separate for each principal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Started
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.http import serving
from lmx_daemon.http.dialects.openai_chat.completions.completion_encoder import CompletionEncoder
from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.openai_responses.response_object import new_response_id, request_id_of
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import FakePool, ask, public_app_over

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


def answering(active: ActiveRequest) -> list[Event]:
    identity = active.request.id
    return [
        Started(id=identity, prompt_tokens=1, cached_tokens=0, seed=1),
        Delta(id=identity, content="Hi", tokens=1),
        Finished(id=identity, endings=(Ending(reason="stop"),)),
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_that_cannot_be_stored_is_not_presented_as_stored(tmp_path: Path, stream: bool) -> None:
    (tmp_path / "file").touch()
    for folder, stored in ((tmp_path / "folder", True), (tmp_path / "file", False)):
        app = public_app_over(FakePool(answering), folder=folder)
        body = {"model": "m", "input": "Hi", "stream": stream}
        response = (await ask(app, "POST", "/v1/responses", body)).body.decode().splitlines()
        last = [line for line in response if "usage" in line][-1]
        assert (f'"store":{str(stored).lower()}' in last) and '"text":"Hi"' in last
        chat = await ask(app, "POST", "/api/v1/chat", body)
        assert (b'"response_id":"resp_' in chat.body) is stored and b"Hi" in chat.body


async def test_same_request_id_does_not_replace_a_stored_response(tmp_path: Path) -> None:
    app = public_app_over(FakePool(answering), folder=tmp_path)
    responses = [
        (await ask(app, "POST", "/v1/responses", {"model": "m", "input": text}, x_request_id="again")).json()
        for text in ("one", "two")
    ]
    for response, text in zip(responses, ("one", "two"), strict=True):
        items = (await ask(app, "GET", f"/v1/responses/{response['id']}/input_items")).json()["data"]
        assert items[0]["content"][0]["text"] == text


def test_request_id_of_a_response() -> None:
    assert request_id_of(new_response_id("a_b-c")) == "a_b-c"
