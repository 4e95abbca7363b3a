"""Wrong requests to OpenAI's Responses routes, the exact error of each, and the SDK's exception for it."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from lmx_daemon.contract import errors
from lmx_daemon.contract.generation.events import Ending, Event, Finished
from tests.http.asgi import Answer, FakePool, ask, public_app_over
from tests.http.not_json import NOT_JSON
from tests.http.openai_sdk import EXCEPTIONS, sdk_of_failures
from tests.openai_types import check

PATH = "/v1/responses"
OK = {"model": "m", "input": "x"}
END: list[Event] = [Finished(id="r", endings=(Ending(reason="stop"),))]
DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"properties": DEEP}


def function(**more: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "name": "f"} | more]}


def items(*given: Any) -> dict[str, Any]:
    return {"input": list(given)}


def content(*parts: Any) -> dict[str, Any]:
    return items({"role": "user", "content": list(parts)})


TABLE: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model: Expected `str` of length >= 1"),
    ({"model": 5}, "model: Expected `str | null`, got `int`"),
    ({"model": None}, "model is required"),
    ({"model": "m" * 513}, "model: Expected `str` of length <= 512"),
    ({"input": 5}, "input: Expected `str | array | null`, got `int`"),
    ({"input": ["x"]}, "input[0]: Expected `object`, got `str`"),
    ({"input": {}}, "input: Expected `str | array | null`, got `object`"),
    (
        items({"role": "robot", "content": "x"}),
        "input[0].role: 'robot' is not known; use user, assistant, system or developer",
    ),
    (items({"role": 5}), "input[0].role: '5' is not known; use user, assistant, system or developer"),
    (items({"type": "message"}), "input[0].role is required"),
    (items({"role": "user", "content": 5}), "input[0].content must be a text or a list of parts"),
    (content("x"), "input[0].content[0] must be an object with a type"),
    (content({"type": "smell"}), "input[0].content[0]: a part of type 'smell' is not known"),
    (content({"type": "input_text"}), "input[0].content[0].text must be a text"),
    (content({"type": "input_text", "text": 5}), "input[0].content[0].text must be a text"),
    (content({"type": "input_image"}), "input[0].content[0]: an image needs image_url, a text"),
    (
        content({"type": "input_image", "image_url": "http://a.example/b.png"}),
        "this model does not accept images",
    ),
    (
        content({"type": "input_file", "file_id": "f"}),
        "input[0].content[0]: files are not read; send their text as input_text",
    ),
    (items({"type": "function_call", "arguments": "{}"}), "input[0].name is required"),
    (items({"type": "function_call", "name": "", "arguments": "{}"}), "input[0].name is required"),
    (
        items({"type": "function_call", "name": "f", "call_id": "c", "arguments": {"n": 2**70}}),
        "input[0].arguments: an integer has more than 64 bits",
    ),
    (
        items({"type": "function_call_output", "call_id": "c", "output": 5}),
        "input[0].output must be a text or a list of parts",
    ),
    ({"instructions": 5}, "instructions: Expected `str | null`, got `int`"),
    ({"previous_response_id": 5}, "previous_response_id: Expected `str | null`, got `int`"),
    ({"conversation": "c"}, "conversation: conversations are not stored; use previous_response_id"),
    ({"background": True}, "background: responses are not computed in the background"),
    ({"background": "yes"}, "background: Expected `bool | null`, got `str`"),
    ({"stream": "yes"}, "stream: Expected `bool | null`, got `str`"),
    ({"store": 1}, "store: Expected `bool | null`, got `int`"),
    ({"tools": {}}, "tools: Expected `array | null`, got `object`"),
    ({"tools": ["x"]}, "tools[0]: Expected `object`, got `str`"),
    (function(name=""), "tools[0].name: a tool needs a name of 1 to 256 characters"),
    (function(name=5), "tools[0].name: a tool needs a name of 1 to 256 characters"),
    (function(name="n" * 257), "tools[0].name: a tool needs a name of 1 to 256 characters"),
    (function(parameters=DEEP), "tools[0].parameters: nested more than 64 deep"),
    (function(parameters=5), "tools[0].parameters must be a JSON schema"),
    ({"tools": [{"type": "function", "name": "f"}] * 513}, "tools: Expected `array` of length <= 512"),
    ({"tool_choice": 5}, "tool_choice: Expected `str | object | null`, got `int`"),
    ({"tool_choice": "some"}, "tool_choice: use 'auto', 'none', 'required' or {\"type\": \"function\", \"name\": ...}"),
    ({"tool_choice": "required"}, "tool_choice: 'required' needs at least one tool"),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice: there is no tool 'f' in tools"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.name: a tool needs its name"),
    ({"text": "x"}, "text: Expected `object | null`, got `str`"),
    ({"text": {"format": "json"}}, "text.format: Expected `object | null`, got `str`"),
    ({"text": {"format": {"type": "yaml"}}}, "text.format: use text, json_object, or json_schema with a schema"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format: use text, json_object, or json_schema with a schema"),
    ({"text": {"format": {"type": "json_schema", "schema": DEEP}}}, "text.format.schema: nested more than 64 deep"),
    ({"reasoning": "high"}, "reasoning: Expected `object | null`, got `str`"),
    (
        {"reasoning": {"effort": "deep"}},
        "reasoning.effort: 'deep' is not known; use none, minimal, low, medium, high, xhigh, max",
    ),
    ({"reasoning": {"effort": 5}}, "reasoning.effort: Expected `str | null`, got `int`"),
    ({"include": "x"}, "include: Expected `array | null`, got `str`"),
    ({"include": [5]}, "include[0]: Expected `str`, got `int`"),
    ({"max_output_tokens": 0}, "max_output_tokens: Expected `int` >= 1"),
    ({"max_output_tokens": "9"}, "max_output_tokens: Expected `int | null`, got `str`"),
    ({"max_output_tokens": 1.5}, "max_output_tokens: Expected `int | null`, got `float`"),
    ({"max_output_tokens": 2**60}, "max_output_tokens: Expected `int` <= 9007199254740992"),
    ({"temperature": 2.5}, "temperature: Expected `float` <= 2.0"),
    ({"temperature": -1}, "temperature: Expected `float` >= 0.0"),
    ({"temperature": "hot"}, "temperature: Expected `float | null`, got `str`"),
    ({"top_p": 1.5}, "top_p: Expected `float` <= 1.0"),
    ({"top_logprobs": 21}, "top_logprobs: Expected `int` <= 20"),
    ({"truncation": "some"}, "truncation: Invalid enum value 'some'"),
    ({"metadata": {"a": 5}}, "metadata[...]: Expected `str`, got `int`"),
    ({"metadata": "x"}, "metadata: Expected `object | null`, got `str`"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls: Expected `bool | null`, got `str`"),
    ({"user": "u" * 2**20}, "user: Expected `str` of length <= 512"),
    ({"user": 5}, "user: Expected `str | null`, got `int`"),
    ({"deadline": 0}, "deadline: Expected `float` > 0.0"),
]


async def answer(body: Any, folder: Path) -> Answer:
    return await ask(public_app_over(FakePool(lambda _: END), folder=folder), "POST", PATH, body)


@pytest.mark.parametrize(("fields", "message"), TABLE)
async def test_wrong_value_is_refused_by_its_name(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    found = await answer(OK | fields, tmp_path)
    assert found.status == 400, found.body
    error = check("error", found.body)["error"]
    assert (error["message"], error["type"]) == (message, "invalid_request_error")
    assert (error["param"] or "").startswith(tuple(fields)) or "images" in message


async def test_answer_to_continue_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    found = await answer(OK | {"previous_response_id": "resp_no"}, tmp_path)
    assert found.status == 404 and check("error", found.body)["error"]["param"] == "previous_response_id"


@pytest.mark.parametrize("body", NOT_JSON)
async def test_body_that_is_no_json_object_is_refused(body: bytes, tmp_path: Path) -> None:
    found = await answer(body, tmp_path)
    assert found.status == 400 and check("error", found.body)["error"]["type"] == "invalid_request_error"


async def test_long_texts_repeated_names_and_unknown_kinds_are_accepted(tmp_path: Path) -> None:
    assert (await answer(OK | {"input": "x" * 2**20, "tools": [{}]}, tmp_path)).status == 200
    twice = json.dumps(OK).removesuffix("}") + ', "top_p": 0.5, "top_p": 1}'
    assert (await answer(twice.encode(), tmp_path)).status == 200


async def test_demand_for_a_call_of_a_dropped_tool_has_no_effect(tmp_path: Path) -> None:
    fields = {"tools": [{"type": "web_search"}], "tool_choice": "required"}
    assert (await answer(OK | fields, tmp_path)).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "kind"), EXCEPTIONS)
async def test_sdk_raises_the_exception_of_each_error(
    error: errors.LmxError, kind: type[openai.APIStatusError], stream: bool
) -> None:
    async with sdk_of_failures(error) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.responses.create(model="m", input="x", stream=stream)
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.param) == (error.code, error.param)
