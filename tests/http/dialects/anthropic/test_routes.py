"""Anthropic's routes in the real app: streams, errors, keep-alive, and what is ignored."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract import errors
from lmx_daemon.contract.generation.events import (
    Counted,
    Delta,
    Ending,
    Event,
    Failed,
    Finished,
    Loading,
    Prefill,
    Queued,
    Started,
)
from lmx_daemon.contract.generation.requests import Chat, Count
from lmx_daemon.http import serving
from lmx_daemon.http.dialects.anthropic.answers import AnthropicErrorAnswer, StreamEvent
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import Answer, FakePool, Script, ask, public_app_over

BODY = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
STARTED = Started(id="r", prompt_tokens=3, cached_tokens=1, seed=1)
HELLO = Delta(id="r", content="Hello", tokens=1)
FINISHED = Finished(id="r", endings=(Ending(reason="stop"),))


def app_of(*events: Event, **settings: Any) -> Any:
    return public_app_over(FakePool(lambda _: events), **settings)


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """Return the events of a stream. Each is checked against its type."""
    lines = [line for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    found = [json.loads(line.removeprefix("data: ")) for line in lines]
    for event in found:
        msgspec.convert(event, StreamEvent)
    return found


async def test_message_whole_and_streamed() -> None:
    for path in ("/v1/messages", "/v1/messages/"):
        found = await ask(app_of(STARTED, HELLO, FINISHED), "POST", path, BODY)
        assert found.json()["content"] == [{"type": "text", "text": "Hello"}]
    streamed = await ask(app_of(STARTED, HELLO, FINISHED), "POST", "/v1/messages", BODY | {"stream": True})
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [event["type"] for event in events_of(streamed)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_count_is_of_the_prompt_with_its_tools() -> None:
    pool = FakePool(lambda _: [Counted(id="r", tokens=42)])
    tool = {"name": "f", "input_schema": {"type": "object"}}
    body = {"model": "m", "messages": BODY["messages"], "system": "s", "tools": [tool]}
    answer = await ask(public_app_over(pool), "POST", "/v1/messages/count_tokens", body)
    assert answer.status == 200 and answer.json() == {"input_tokens": 42}
    (asked,) = pool.submitted
    assert isinstance(asked, Count) and isinstance(asked.prompt, Chat)
    assert asked.prompt.messages[0].role == "system" and asked.prompt.tools[0].name == "f"
    assert pool.released == 1


async def test_error_of_a_count_is_a_status() -> None:
    failed = Failed(id="r", error=errors.prompt_too_long(9, 8, "messages").body())
    answer = await ask(app_of(failed), "POST", "/v1/messages/count_tokens", BODY)
    assert answer.status == 400 and answer.json()["error"]["message"].startswith("prompt is too long: 9 tokens > 8 max")


async def test_load_queue_and_prefill_are_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "OPENING_SECONDS", 0.0)
    monkeypatch.setattr(serving, "KEEP_ALIVE_SECONDS", 0.02)
    monkeypatch.setattr(serving, "PREFILL_SECONDS", 0.0)
    later: list[Event] = [
        Loading(id="r", model="m", stage="weights"),
        Queued(id="r", position=2),
        STARTED,
        Prefill(id="r", done=1, total=9),
        HELLO,
        FINISHED,
    ]
    tasks: list[asyncio.Future[None]] = []

    def script(active: ActiveRequest) -> list[Event]:
        async def play() -> None:
            for event in later:
                await asyncio.sleep(0.05)
                active.put(event)

        tasks.append(asyncio.ensure_future(play()))
        return []

    answer = await ask(public_app_over(FakePool(script)), "POST", "/v1/messages", BODY | {"stream": True})
    await tasks[0]
    kinds = [event["type"] for event in events_of(answer)]
    start = kinds.index("message_start")
    assert set(kinds[:start]) == {"ping"} and start > 3
    assert "ping" in kinds[start + 1 : kinds.index("content_block_start")]
    assert b": loading weights\n\nevent: ping\n" in answer.body and b": prompt, 1 of 9 tokens\n\n" in answer.body


def raising(error: errors.LmxError) -> Script:
    def script(active: ActiveRequest) -> list[Event]:
        raise error

    return script


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.RequestError("x"), 400, "invalid_request_error"),
        (errors.UnsupportedError("x"), 400, "invalid_request_error"),
        (errors.ForbiddenError("x"), 403, "permission_error"),
        (errors.UntrustedModelError("x"), 403, "permission_error"),
        (errors.ModelNotFoundError("x"), 404, "not_found_error"),
        (errors.ConflictError("x"), 409, "conflict_error"),
        (errors.BusyError("x", retry_after=7.0), 429, "rate_limit_error"),
        (errors.WorkerError("x"), 500, "api_error"),
        (errors.CrashLoopError("x", retry_after=7.0), 529, "overloaded_error"),
        (errors.ShuttingDownError("x"), 529, "overloaded_error"),
        (errors.DeadlineError("x"), 504, "timeout_error"),
        (errors.OutOfMemoryError("x"), 507, "api_error"),
    ],
)
async def test_errors_have_anthropics_types(error: errors.LmxError, status: int, kind: str) -> None:
    answer = await ask(public_app_over(FakePool(raising(error))), "POST", "/v1/messages", BODY)
    body = answer.json()
    msgspec.convert(body, AnthropicErrorAnswer)
    assert (answer.status, body["error"]["type"], body["error"]["details"]["error_code"]) == (status, kind, error.code)
    assert answer.headers.get("retry-after") == ("7" if error.retry_after else None)


@pytest.mark.parametrize(
    ("status", "kind", "headers"),
    [
        (401, "authentication_error", {"x_api_key": "wrong"}),
        (403, "permission_error", {"origin": "https://evil.example"}),
        (421, "invalid_request_error", {"host": "evil.example"}),
        (415, "invalid_request_error", {"x_api_key": "secret", "content_type": "text/plain"}),
        (413, "request_too_large", {"x_api_key": "secret", "content_length": "999"}),
    ],
)
async def test_refusal_of_the_guard_has_anthropics_form(status: int, kind: str, headers: dict[str, str]) -> None:
    app = app_of(FINISHED, api_key="secret", max_body_bytes=100)
    answer = await ask(app, "POST", "/v1/messages", BODY, x_request_id="mine", **headers)
    assert answer.status == status
    assert answer.json()["error"]["type"] == kind and answer.json()["request_id"] == "mine"


@pytest.mark.parametrize(
    "headers",
    [
        {"x_api_key": "secret"},
        {"authorization": "Bearer secret"},
        {"authorization": "Bearer other", "x_api_key": "secret"},
        {"authorization": "Bearer secret", "x_api_key": "other"},
    ],
)
async def test_key_is_accepted_in_either_header(headers: dict[str, str]) -> None:
    assert (await ask(app_of(FINISHED, api_key="secret"), "POST", "/v1/messages", BODY, **headers)).status == 200


async def test_unknown_route_has_anthropics_form() -> None:
    answer = await ask(app_of(), "POST", "/v1/messages/batches", {})
    assert answer.status == 404 and answer.json()["error"]["type"] == "not_found_error"
    assert (await ask(app_of(), "GET", "/v1/messages")).status == 404


async def test_probes_answer_without_a_key() -> None:
    for method in ("HEAD", "GET"):
        for path in ("/", "/api/hello"):
            assert (await ask(app_of(api_key="secret"), method, path)).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_ignored_parts_are_in_a_header(stream: bool) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    app = app_of(STARTED, FINISHED)
    answer = await ask(app, "POST", "/v1/messages", BODY | {"tools": tools, "stream": stream})
    assert answer.headers["x-lmx-ignored"] == "tools[0] (web_search_20250305)"
    assert "x-lmx-ignored" not in (await ask(app, "POST", "/v1/messages", BODY | {"stream": stream})).headers


async def test_failure_in_a_stream_is_an_error_event() -> None:
    def script(active: ActiveRequest) -> list[Event]:
        failed = Failed(id="r", error=errors.WorkerError("it crashed").body())
        asyncio.get_running_loop().call_later(0.05, active.put, failed)
        return [STARTED, HELLO]

    answer = await ask(public_app_over(FakePool(script)), "POST", "/v1/messages", BODY | {"stream": True})
    last = events_of(answer)[-1]
    assert (last["type"], last["error"]["message"]) == ("error", "it crashed")
    assert last["request_id"] == answer.headers["request-id"]
