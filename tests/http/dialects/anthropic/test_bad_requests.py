"""Wrong requests to Anthropic's routes, and the exact error of each."""

from typing import Any

import anthropic
import pytest

from lmx_daemon.contract.generation.events import Counted, Ending, Finished
from tests.http.asgi import Answer, FakePool, ask, public_app_over

OK = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"properties": DEEP}


def message_of(role: str, *blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


TABLE: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model: Expected `str` of length >= 1"),
    ({"model": 5}, "model: Expected `str`, got `int`"),
    ({"max_tokens": 0}, "max_tokens: Expected `int` >= 1"),
    ({"max_tokens": "9"}, "max_tokens: Expected `int`, got `str`"),
    ({"max_tokens": 1.5}, "max_tokens: Expected `int`, got `float`"),
    ({"messages": []}, "messages: Expected `array` of length >= 1"),
    ({"messages": "x"}, "messages: Expected `array`, got `str`"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role: Invalid enum value 'tool'"),
    ({"messages": [{"role": "user"}]}, "messages[0].content: Object missing required field `content`"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: Expected `str | array`, got `int`"),
    (
        {"messages": [{"role": "user", "content": ""}]},
        "messages[0].content: a user message needs text, an image, a document or a tool result",
    ),
    (
        message_of("user", {"type": "container_upload", "file_id": "f"}),
        "messages[0].content: a user message needs text, an image, a document or a tool result",
    ),
    (message_of("user", {"text": "x"}), "messages[0].content[0]: a block needs a type, a text"),
    (message_of("user", {"type": "text"}), "messages[0].content[0].text: Object missing required field `text`"),
    (message_of("user", {"type": "text", "text": 5}), "messages[0].content[0].text: Expected `str`, got `int`"),
    (
        message_of("user", {"type": "thinking", "thinking": "x"}),
        "messages[0].content[0]: a block of type 'thinking' is not allowed here",
    ),
    (
        message_of("system", {"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        "messages[0].content[0]: a block of type 'tool_use' is not allowed here",
    ),
    (
        message_of("user", {"type": "tool_result", "content": "x"}),
        "messages[0].content[0].tool_use_id: Object missing required field `tool_use_id`",
    ),
    (
        message_of("user", {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}),
        "messages[0].content[0].content[0].text: Object missing required field `text`",
    ),
    (
        message_of("user", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}}),
        "messages[0].content[0].source.data: the image is not base64",
    ),
    (
        message_of("user", {"type": "image", "source": {"type": "disk"}}),
        "messages[0].content[0].source.type: Invalid value 'disk'",
    ),
    (
        message_of("assistant", {"type": "tool_use", "id": "t", "name": "f", "input": "x"}),
        "messages[0].content[0].input: Expected `object`, got `str`",
    ),
    (
        message_of("assistant", {"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        "messages[0]: the tool calls of the last message have no results",
    ),
    (
        message_of("assistant", {"type": "tool_use", "id": "t", "name": "f", "input": {"n": 2**70}}),
        "messages[0].content[0].input: an integer has more than 64 bits",
    ),
    ({"system": 5}, "system: Expected `str | array | null`, got `int`"),
    ({"system": [{"type": "image"}]}, "system[0].source: Object missing required field `source`"),
    ({"temperature": 1.5}, "temperature: Expected `float` <= 1.0"),
    ({"temperature": -0.5}, "temperature: Expected `float` >= 0.0"),
    ({"top_p": 2}, "top_p: Expected `float` <= 1.0"),
    ({"top_k": -1}, "top_k: Expected `int` >= 0"),
    ({"stop_sequences": "x"}, "stop_sequences: Expected `array | null`, got `str`"),
    ({"stop_sequences": [""]}, "stop_sequences: each text has 1 to 1000 characters"),
    ({"stop_sequences": ["x"] * 65}, "stop_sequences: at most 64 texts, not 65"),
    ({"stream": "yes"}, "stream: Expected `bool | null`, got `str`"),
    ({"metadata": {"user_id": "u" * 513}}, "metadata.user_id: Expected `str` of length <= 512"),
    ({"thinking": {"type": "deep"}}, "thinking.type: Invalid enum value 'deep'"),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 0}},
        "thinking.budget_tokens: Expected `int` >= 1",
    ),
    ({"output_config": {"format": {"type": "regex"}}}, "output_config.format.type: Invalid enum value 'regex'"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": DEEP}}},
        "output_config.format.schema: nested more than 64 deep",
    ),
    ({"tools": {}}, "tools: Expected `array | null`, got `object`"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema: Object missing required field `input_schema`"),
    ({"tools": [TOOL | {"name": ""}]}, "tools[0].name: Expected `str` of length >= 1"),
    ({"tools": [TOOL | {"type": 5}]}, "tools[0].type: Expected `str | null`, got `int`"),
    ({"tools": [TOOL | {"strict": "yes"}]}, "tools[0].strict: Expected `bool | null`, got `str`"),
    ({"tools": [TOOL] * 513}, "tools: Expected `array` of length <= 512"),
    ({"tools": [TOOL | {"input_schema": DEEP}]}, "tools[0].input_schema: nested more than 64 deep"),
    ({"tool_choice": "any"}, "tool_choice: Expected `object | null`, got `str`"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type: Invalid enum value 'some'"),
    ({"tool_choice": {"type": "any"}}, "tool_choice: 'any' needs at least one tool"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name: a tool needs its name"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name: there is no tool 'g'"),
]


async def answer(body: Any, path: str = "/v1/messages") -> Answer:
    finished = Finished(id="r", endings=(Ending(reason="stop"),))
    counted = Counted(id="r", tokens=5)
    app = public_app_over(FakePool(lambda _: [counted if "count" in path else finished]))
    return await ask(app, "POST", path, body)


def check(found: Answer, message: str) -> None:
    assert found.status == 400, found.body
    body = found.json()
    assert body["type"] == "error" and body["request_id"] == found.headers["request-id"]
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"] == message


@pytest.mark.parametrize(("fields", "message"), TABLE)
async def test_wrong_value_is_refused_by_its_name(fields: dict[str, Any], message: str) -> None:
    found = await answer(OK | fields)
    check(found, message)
    assert found.json()["error"]["param"] == message.partition(":")[0] or "a block" in message or "tool_use" in message


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
async def test_missing_field_is_named(missing: str) -> None:
    body = {name: value for name, value in OK.items() if name != missing}
    check(await answer(body), f"{missing}: Object missing required field `{missing}`")


async def test_count_needs_no_max_tokens() -> None:
    body = {name: value for name, value in OK.items() if name != "max_tokens"}
    assert (await answer(body, "/v1/messages/count_tokens")).json() == {"input_tokens": 5}
    check(
        await answer({"model": "m"}, "/v1/messages/count_tokens"), "messages: Object missing required field `messages`"
    )


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', b"\xff", b'{"model": NaN}', b'{"model": "m", "max_tokens": 1e999}', b"[" * 100_000],
)
async def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    found = await answer(body)
    assert found.status == 400 and found.json()["error"]["type"] == "invalid_request_error"


async def test_long_texts_and_repeated_names_are_accepted() -> None:
    assert (await answer(OK | {"system": "x" * 2**20})).status == 200
    twice = b'{"model": "m", "max_tokens": 4, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}'
    assert (await answer(twice)).status == 200


def test_types_of_errors_are_those_of_the_sdk() -> None:
    from typing import get_args

    from anthropic.types.shared import ErrorType

    from lmx_daemon.http.dialects.anthropic.errors import TYPES

    assert set(TYPES.values()) - {"request_too_large"} <= set(get_args(ErrorType))
    assert anthropic.OverloadedError
