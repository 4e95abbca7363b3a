"""Wrong requests to OpenAI's chat and completions routes, the exact error of each, and the SDK's exception for it."""

import json
from typing import Any

import openai
import pytest

from lmx_daemon.contract import errors
from lmx_daemon.contract.generation.events import Ending, Event, Finished
from tests.http.asgi import Answer, FakePool, ask, public_app_over
from tests.http.openai_sdk import EXCEPTIONS, sdk_of_failures
from tests.openai_types import check

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
OK: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    COMPLETIONS: {"model": "m", "prompt": "x"},
}
DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"properties": DEEP}
END: list[Event] = [Finished(id="r", endings=(Ending(reason="stop"),))]


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | more}


def content(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


BOTH: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model: Expected `str` of length >= 1"),
    ({"model": 5}, "model: Expected `str`, got `int`"),
    ({"model": None}, "model: Expected `str`, got `null`"),
    ({"model": "m" * 513}, "model: Expected `str` of length <= 512"),
    ({"temperature": -0.1}, "temperature: Expected `float` >= 0.0"),
    ({"temperature": 2.1}, "temperature: Expected `float` <= 2.0"),
    ({"temperature": "hot"}, "temperature: Expected `float | null`, got `str`"),
    ({"top_p": 1.5}, "top_p: Expected `float` <= 1.0"),
    ({"top_k": -2}, "top_k: Expected `int` >= -1"),
    ({"min_p": -1}, "min_p: Expected `float` >= 0.0"),
    ({"max_tokens": -2}, "max_tokens: Expected `int` >= -1"),
    ({"max_tokens": 1.5}, "max_tokens: Expected `int | null`, got `float`"),
    ({"max_tokens": 2**60}, "max_tokens: Expected `int` <= 9007199254740992"),
    ({"n": 0}, "n: Expected `int` >= 1"),
    ({"n": 17}, "n: Expected `int` <= 16"),
    ({"stream": "yes"}, "stream: Expected `bool | null`, got `str`"),
    ({"stream_options": True}, "stream_options: Expected `object | null`, got `bool`"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage: Expected `bool | null`, got `int`"),
    ({"stop": 5}, "stop: Expected `str | array | null`, got `int`"),
    ({"stop": [""]}, "stop: each string has 1 to 1000 characters"),
    ({"stop": "x" * 1001}, "stop: each string has 1 to 1000 characters"),
    ({"stop": ["x"] * 65}, "stop: at most 64 strings, not 65"),
    ({"seed": 2**63}, "seed: Expected `int` <= 9223372036854775807"),
    ({"presence_penalty": 2.1}, "presence_penalty: Expected `float` <= 2.0"),
    ({"frequency_penalty": -3}, "frequency_penalty: Expected `float` >= -2.0"),
    ({"logit_bias": {"a": 1}}, "logit_bias: the names must be token ids"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]: Expected `float` <= 100.0"),
    ({"logit_bias": [1]}, "logit_bias: Expected `object | null`, got `array`"),
    ({"user": "u" * 513}, "user: Expected `str` of length <= 512"),
    ({"user": "u" * 2**20}, "user: Expected `str` of length <= 512"),
    ({"priority": 11}, "priority: Expected `int` <= 10"),
    ({"deadline": 0}, "deadline: Expected `float` > 0.0"),
    ({"keep_alive": "soon"}, 'keep_alive: \'soon\' is not a duration; write seconds, or "30s", "5m", "24h"'),
    ({"overflow": "cut"}, "overflow: Invalid enum value 'cut'"),
]
CHAT_ONLY: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages: Expected `array` of length >= 1"),
    ({"messages": "x"}, "messages: Expected `array`, got `str`"),
    ({"messages": ["x"]}, "messages[0]: Expected `object`, got `str`"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role: Invalid enum value 'wizard'"),
    ({"messages": [{"content": "x"}]}, "messages[0].role: Object missing required field `role`"),
    ({"messages": [{"role": "user"}]}, "messages[0]: content is missing"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: Expected `str | array | null`, got `int`"),
    (content(), "messages[0]: content is missing"),
    (content({"text": "x"}), "messages[0].content[0].type: Object missing required field `type`"),
    (content({"type": "text"}), "messages[0].content[0]: a text part needs text"),
    (
        content({"type": "smell"}),
        "messages[0].content[0]: a part of type 'smell' is not known; use 'text' or 'image_url'",
    ),
    (content({"type": "input_audio"}), "messages[0].content[0]: parts of type 'input_audio' are not supported"),
    (content({"type": "image_url"}), "messages[0].content[0]: an image needs image_url"),
    (
        content({"type": "image_url", "image_url": {"url": "file:///b.png"}}),
        "messages[0].content[0].image_url: only data:, https: and http: URLs are accepted",
    ),
    (
        {"messages": [{"role": "user", "content": "x", "name": 5}]},
        "messages[0].name: Expected `str | null`, got `int`",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        "messages[0].tool_calls[0].function: Object missing required field `function`",
    ),
    ({"max_tokens": 0}, "max_tokens must be at least 1 (or -1 for no limit)"),
    ({"max_completion_tokens": 0}, "max_completion_tokens must be at least 1 (or -1 for no limit)"),
    ({"logprobs": 2}, "logprobs: Expected `bool | null`, got `int`"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs: Expected `int` <= 20"),
    ({"top_logprobs": 2}, "top_logprobs needs logprobs to be true"),
    ({"thinking_budget": -1}, "thinking_budget: Expected `int` >= 0"),
    ({"reasoning_effort": 5}, "reasoning_effort: Expected `str | null`, got `int`"),
    ({"chat_template_kwargs": {"thinking": 1}}, "thinking must be true or false"),
    (
        {"chat_template_kwargs": {"thinking_budget": "x"}},
        "chat_template_kwargs.thinking_budget: use a number of tokens, or -1 for no limit",
    ),
    ({"tools": {}}, "tools: Expected `array | null`, got `object`"),
    ({"tools": [{}]}, "tools[0].function: Object missing required field `function`"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type: Invalid enum value 'custom'"),
    ({"tools": [function("")]}, "tools[0].function.name: Expected `str` of length >= 1"),
    ({"tools": [function("f")] * 513}, "tools: Expected `array` of length <= 512"),
    ({"tools": [function("f", parameters=DEEP)]}, "tools[0].function.parameters: nested more than 64 deep"),
    (
        {"tools": [function("f", parameters="x")]},
        "tools[0].function.parameters: Expected `object | null`, got `str`",
    ),
    ({"tool_choice": 5}, "tool_choice: Expected `str | object | null`, got `int`"),
    ({"tool_choice": "required"}, "tool_choice: 'required' needs at least one tool"),
    ({"tool_choice": function("f")}, "tool_choice.function.name: there is no tool 'f'"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls: Expected `bool | null`, got `str`"),
    ({"response_format": "json"}, "response_format: Expected `object | null`, got `str`"),
    ({"functions": [{}]}, "functions[0].name: Object missing required field `name`"),
]
COMPLETIONS_ONLY: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt: Expected `str | array`, got `null`"),
    ({"prompt": 5}, "prompt: Expected `str | array`, got `int`"),
    ({"prompt": []}, "prompt: a list of prompts or token ids is empty"),
    ({"prompt": ["a", []]}, "prompt: a list of prompts or token ids is empty"),
    ({"prompt": [1.5]}, "prompt[0]: Expected `int | str | array`, got `float`"),
    ({"prompt": [-1]}, "prompt[0]: Expected `int` >= 0"),
    ({"prompt": [["a"]]}, "prompt[0][0]: Expected `int`, got `str`"),
    ({"logprobs": 6}, "logprobs: Expected `int` <= 5"),
    ({"logprobs": True}, "logprobs: Expected `int | null`, got `bool`"),
    ({"echo": "x"}, "echo: Expected `bool | null`, got `str`"),
    ({"suffix": 5}, "suffix: Expected `str | null`, got `int`"),
]
TABLE = [
    *((path, fields, message) for path in OK for fields, message in BOTH),
    *((CHAT, fields, message) for fields, message in CHAT_ONLY),
    *((COMPLETIONS, fields, message) for fields, message in COMPLETIONS_ONLY),
]


async def answer(path: str, body: Any) -> Answer:
    return await ask(public_app_over(FakePool(lambda _: END)), "POST", path, body)


@pytest.mark.parametrize(("path", "fields", "message"), TABLE)
async def test_wrong_value_is_refused_by_its_name(path: str, fields: dict[str, Any], message: str) -> None:
    found = await answer(path, OK[path] | fields)
    assert found.status == 400, found.body
    error = check("error", found.body)["error"]
    assert (error["message"], error["type"]) == (message, "invalid_request_error")
    assert error["param"].startswith(tuple(fields))


@pytest.mark.parametrize(("path", "missing"), [(path, name) for path, body in OK.items() for name in body])
async def test_missing_field_is_named(path: str, missing: str) -> None:
    body = {name: value for name, value in OK[path].items() if name != missing}
    error = (await answer(path, body)).json()["error"]
    assert error["message"] == f"{missing}: Object missing required field `{missing}`" and error["param"] == missing


@pytest.mark.parametrize("path", OK)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"\xff",
        b'{"model": NaN}',
        b'{"model": "m", "temperature": NaN}',
        b'{"model": "m", "n": 1e999}',
        b'{"model": "\\ud83d"}',
        b"[" * 100_000,
        b'{"model": ' * 100_000,
    ],
)
async def test_body_that_is_no_json_object_is_refused(path: str, body: bytes) -> None:
    found = await answer(path, body)
    assert found.status == 400 and check("error", found.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", OK)
async def test_long_texts_and_repeated_names_are_accepted(path: str) -> None:
    text = "x" * 2**20
    long = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}
    assert (await answer(path, OK[path] | long)).status == 200
    body = json.dumps(OK[path]).removesuffix("}") + ', "n": 2, "n": 1}'
    assert (await answer(path, body.encode())).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "kind"), EXCEPTIONS)
async def test_sdk_raises_the_exception_of_each_error(
    error: errors.LmxError, kind: type[openai.APIStatusError], stream: bool
) -> None:
    async with sdk_of_failures(error) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=stream)
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.param) == (error.code, error.param)
