"""The OpenAPI document: it describes every route, and real answers match it."""

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Failed,
    Finished,
    Started,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.http.openapi import document
from lmx_daemon.residency.requests.active_request import ActiveRequest
from tests.http.asgi import Answer, FakePool, ask, public_app_over

TOKEN = TokenLogprob(
    token="a", id=5, logprob=-0.5, bytes=(97,), top=(TokenLogprob(token="a", id=5, logprob=-0.5, bytes=(97,)),)
)
CALL = ToolCallDelta(index=0, id="call_1", name="f", arguments="{")
EVENTS: list[Event] = [
    Started(id="r", prompt_tokens=3, cached_tokens=1, seed=7),
    Delta(id="r", reasoning="hm"),
    Delta(id="r", content="a", tokens=1, logprobs=(TOKEN,)),
    Delta(id="r", tool_call=CALL),
    Delta(id="r", tool_call=ToolCallDelta(index=0, arguments="}")),
    Finished(id="r", endings=(Ending(reason="tool_calls"),), usage=Usage(prompt_tokens=3, completion_tokens=4)),
]
FAILED = Failed(id="r", error=WorkerError("it crashed", hint="try again").body())
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
COMPLETION = {"model": "m", "prompt": "x"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(public_dialects())


def check(described: dict[str, Any], schema: Any, value: Any) -> None:
    """Raise ValidationError if `value` differs from a schema of the document."""
    whole = schema | {"components": described["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def check_answer(described: dict[str, Any], method: str, path: str, answer: Answer) -> None:
    """Check an answer against the schema of its route, status and media type."""
    content = described["paths"][path][method]["responses"][str(answer.status)]["content"]
    found = content[answer.headers["content-type"].partition(";")[0]]
    if "itemSchema" not in found:
        check(described, found["schema"], answer.json())
        return
    events = [event for event in answer.body.decode().split("\n\n") if event.startswith("data: ")]
    assert len(events) > 1
    *ends, form = found["itemSchema"]["properties"]["data"]["anyOf"]
    for event in events:
        value = event.removeprefix("data: ")
        if {"const": value} not in ends:
            check(described, form["contentSchema"], json.loads(value))


class TestDocument:
    def test_document_lists_every_route_and_no_other(self, described: dict[str, Any]) -> None:
        for dialect in public_dialects().all:
            routes = {
                (method.lower(), path.replace(":path}", "}").replace(":str}", "}"))
                for route in dialect.routes
                for method in route.http_methods
                for path in route.paths
            }
            assert routes == {(operation.method, operation.path) for operation in dialect.operations()}
        names = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
        assert len(names) == len(set(names))

    def test_every_schema_is_valid_and_every_reference_exists(self, described: dict[str, Any]) -> None:
        schemas = described["components"]["schemas"]
        for schema in schemas.values():
            jsonschema.Draft202012Validator.check_schema(schema)
        text = json.dumps(described)
        assert {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]} == set(schemas)

    def test_limits_of_a_field_are_in_the_schema_of_the_body(self, described: dict[str, Any]) -> None:
        body = described["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
        for fields, valid in (
            ({}, True),
            ({"temperature": 0.5}, True),
            ({"temperature": 3}, False),
            ({"temperature": -1}, False),
            ({"n": 0}, False),
            ({"messages": []}, False),
        ):
            validator = jsonschema.Draft202012Validator(body["schema"] | {"components": described["components"]})
            assert validator.is_valid(CHAT | fields) is valid, fields

    async def test_document_is_served_behind_the_guard(self, described: dict[str, Any]) -> None:
        app = public_app_over(FakePool(lambda _: EVENTS), api_key="secret")
        assert (await ask(app, "GET", "/openapi.json")).status == 401
        answer = await ask(app, "GET", "/openapi.json", x_api_key="secret")
        assert answer.status == 200 and answer.json() == json.loads(json.dumps(described))


class TestAnswers:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("usage", [False, True])
    @pytest.mark.parametrize("functions", [False, True])
    async def test_chat_matches(self, described: dict[str, Any], stream: bool, usage: bool, functions: bool) -> None:
        fields = {"stream": stream, "stream_options": {"include_usage": usage}, "logprobs": True}
        if functions:
            fields["functions"] = [{"name": "f"}]
        answer = await ask(public_app_over(FakePool(lambda _: EVENTS)), "POST", "/v1/chat/completions", CHAT | fields)
        assert answer.status == 200
        check_answer(described, "post", "/v1/chat/completions", answer)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_completion_matches(self, described: dict[str, Any], stream: bool) -> None:
        fields = {"stream": stream, "stream_options": {"include_usage": True}, "logprobs": 2}
        events = [event for event in EVENTS if not isinstance(event, Delta) or event.content]
        answer = await ask(public_app_over(FakePool(lambda _: events)), "POST", "/v1/completions", COMPLETION | fields)
        check_answer(described, "post", "/v1/completions", answer)

    async def test_error_in_a_stream_matches(self, described: dict[str, Any]) -> None:
        def script(active: ActiveRequest) -> list[Event]:
            asyncio.get_running_loop().call_later(0.05, active.put, FAILED)
            return EVENTS[:3]

        app = public_app_over(FakePool(script))
        answer = await ask(app, "POST", "/v1/chat/completions", CHAT | {"stream": True})
        assert b"it crashed" in answer.body
        check_answer(described, "post", "/v1/chat/completions", answer)

    async def test_errors_match(self, described: dict[str, Any]) -> None:
        app = public_app_over(FakePool(lambda _: [FAILED]), max_body_bytes=1000)
        for status, body, headers in (
            (500, CHAT, {}),
            (400, {"model": 5}, {}),
            (413, CHAT | {"user": "u" * 2000}, {}),
            (415, CHAT, {"content_type": "text/plain"}),
            (403, CHAT, {"origin": "https://evil.example"}),
            (421, CHAT, {"host": "evil.example"}),
        ):
            answer = await ask(app, "POST", "/v1/chat/completions", body, **headers)  # type: ignore[arg-type]
            assert answer.status == status
            check_answer(described, "post", "/v1/chat/completions", answer)

    async def test_cancellation_of_a_wrong_media_type_matches(self, described: dict[str, Any]) -> None:
        app = public_app_over(FakePool(lambda _: []))
        answer = await ask(app, "POST", "/v1/responses/r/cancel", b"now", content_type="text/plain")
        assert answer.status == 415
        check_answer(described, "post", "/v1/responses/{response_id}/cancel", answer)

    @pytest.mark.parametrize("path", ["/v1/models", "/health", "/openapi.json"])
    async def test_other_routes_match(self, described: dict[str, Any], path: str) -> None:
        check_answer(described, "get", path, await ask(public_app_over(FakePool(lambda _: [])), "GET", path))
