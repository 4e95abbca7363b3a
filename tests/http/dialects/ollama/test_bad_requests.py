"""Wrong requests to Ollama's routes, the exact error of each, and what Ollama's client raises for it."""

import json
from typing import Any

import httpx
import ollama
import pytest

from lmx_daemon.contract import errors
from lmx_daemon.contract.generation.events import Ending, Event, Failed, Finished
from tests.http.asgi import Answer, FakePool, ask, public_app_over
from tests.http.not_json import NOT_JSON

CHAT, GENERATE = "/api/chat", "/api/generate"
OK: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    GENERATE: {"model": "m", "prompt": "x"},
}
END: list[Event] = [Finished(id="r", endings=(Ending(reason="stop"),))]
DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"properties": DEEP}

BOTH: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model: Expected `str` of length >= 1"),
    ({"model": 5}, "model: Expected `str`, got `int`"),
    ({"model": None}, "model: Expected `str`, got `null`"),
    ({"model": "m" * 513}, "model: Expected `str` of length <= 512"),
    ({"stream": "yes"}, "stream: Expected `bool | null`, got `str`"),
    ({"format": "yaml"}, "format: 'yaml' is not known; use \"json\" or a JSON schema"),
    ({"format": 5}, "format: Expected `str | object | null`, got `int`"),
    ({"format": DEEP}, "format: nested more than 64 deep"),
    ({"options": 5}, "options: Expected `object | null`, got `int`"),
    ({"options": {"temperature": 9}}, "options.temperature: Expected `float` <= 2.0"),
    ({"options": {"temperature": "hot"}}, "options.temperature: Expected `int | float | null`, got `str`"),
    ({"options": {"top_p": 2}}, "options.top_p: Expected `float` <= 1.0"),
    ({"options": {"top_k": 1.5}}, "options.top_k: Expected `int | null`, got `float`"),
    ({"options": {"min_p": -1}}, "options.min_p: Expected `float` >= 0.0"),
    ({"options": {"seed": "x"}}, "options.seed: Expected `int | null`, got `str`"),
    ({"options": {"stop": 5}}, "options.stop: Expected `str | array | null`, got `int`"),
    ({"options": {"stop": ["x"] * 65}}, "options.stop: at most 64 strings of 1000 characters"),
    ({"options": {"stop": "x" * 1001}}, "options.stop: at most 64 strings of 1000 characters"),
    ({"options": {"num_predict": 0}}, "options.num_predict: use 1 or more, or -1 for no limit"),
    ({"options": {"num_predict": -3}}, "options.num_predict: use 1 or more, or -1 for no limit"),
    ({"options": {"num_predict": 2**60}}, "options.num_predict: use 1 or more, or -1 for no limit"),
    ({"options": {"num_predict": "all"}}, "options.num_predict: Expected `int | null`, got `str`"),
    ({"options": {"repeat_penalty": -1}}, "options.repeat_penalty: Expected `float` > 0.0"),
    ({"options": {"presence_penalty": 3}}, "options.presence_penalty: Expected `float` <= 2.0"),
    ({"keep_alive": "soon"}, 'keep_alive: \'soon\' is not a duration; write seconds, or "30s", "5m", "24h"'),
    ({"keep_alive": []}, "keep_alive: Expected `float | str | null`, got `array`"),
    ({"think": "hard"}, 'think: \'hard\' is not known; use true, false, "low", "medium" or "high"'),
    ({"think": 5}, "think: Expected `bool | str | null`, got `int`"),
    ({"logprobs": 1}, "logprobs: Expected `bool | null`, got `int`"),
    ({"top_logprobs": 21}, "top_logprobs: Expected `int` <= 20"),
]
CHAT_ONLY: list[tuple[dict[str, Any], str]] = [
    ({"messages": "x"}, "messages: Expected `array`, got `str`"),
    ({"messages": ["x"]}, "messages[0]: Expected `object`, got `str`"),
    ({"messages": [{}]}, "messages[0].role: Object missing required field `role`"),
    (
        {"messages": [{"role": "robot", "content": "x"}]},
        "messages[0].role: 'robot' is not known; use system, user, assistant, tool",
    ),
    ({"messages": [{"role": 5}]}, "messages[0].role: Expected `str`, got `int`"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: Expected `str | null`, got `int`"),
    (
        {"messages": [{"role": "user", "content": "", "images": "x"}]},
        "messages[0].images: Expected `array | null`, got `str`",
    ),
    (
        {"messages": [{"role": "user", "content": "", "images": ["?"]}]},
        "messages[0].images[0]: the image is not base64",
    ),
    (
        {"messages": [{"role": "user", "content": "", "images": ["x"] * 65}]},
        "messages[0].images: Expected `array` of length <= 64",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        "messages[0].tool_calls[0].function: Object missing required field `function`",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]}]},
        "messages[0].tool_calls[0].function.arguments: Expected `str | object`, got `int`",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"n": 2**70}}}]}]},
        "messages[0].tool_calls: an integer has more than 64 bits",
    ),
    ({"tools": {}}, "tools: Expected `array | null`, got `object`"),
    ({"tools": [{}]}, "tools[0].function: Object missing required field `function`"),
    ({"tools": [{"function": {"name": ""}}]}, "tools[0].function.name: Expected `str` of length >= 1"),
    (
        {"tools": [{"function": {"name": "f", "parameters": "x"}}]},
        "tools[0].function.parameters: Expected `object | null`, got `str`",
    ),
    (
        {"tools": [{"function": {"name": "f", "parameters": DEEP}}]},
        "tools[0].function.parameters: nested more than 64 deep",
    ),
    ({"tools": [{"function": {"name": "f"}}] * 513}, "tools: Expected `array` of length <= 512"),
]
GENERATE_ONLY: list[tuple[dict[str, Any], str]] = [
    ({"prompt": 5}, "prompt: Expected `str`, got `int`"),
    ({"prompt": None}, "prompt: Expected `str`, got `null`"),
    ({"system": 5}, "system: Expected `str | null`, got `int`"),
    ({"suffix": 5}, "suffix: Expected `str | null`, got `int`"),
    ({"raw": "x"}, "raw: Expected `bool | null`, got `str`"),
    ({"images": "x"}, "images: Expected `array | null`, got `str`"),
    ({"images": ["?"]}, "images[0]: the image is not base64"),
    ({"context": "x"}, "context: Expected `array | null`, got `str`"),
    ({"context": [1.5]}, "context[0]: Expected `int`, got `float`"),
    (
        {"context": [1, 2]},
        "context: this is not a context that lmx returned "
        "(send the context of the last answer unchanged, or use /api/chat)",
    ),
    ({"suffix": "s", "context": [1]}, "suffix: images and context cannot be combined with it"),
    ({"raw": True, "images": ["iVBORw0KGgoAAAAA"]}, "raw: images and context need a template"),
]
TABLE = [
    *((path, fields, message) for path in OK for fields, message in BOTH),
    *((CHAT, fields, message) for fields, message in CHAT_ONLY),
    *((GENERATE, fields, message) for fields, message in GENERATE_ONLY),
]
NAMES: list[tuple[dict[str, Any], str]] = [
    ({}, "model is required"),
    ({"model": ""}, "model is required"),
    ({"model": 5}, "model: Expected `str | null`, got `int`"),
    ({"name": 5}, "name: Expected `str | null`, got `int`"),
]
"""Bodies of the routes that only name a model."""


async def answer(path: str, body: Any) -> Answer:
    return await ask(public_app_over(FakePool(lambda _: END), manage_over_tcp=True), "POST", path, body)


@pytest.mark.parametrize(("path", "fields", "message"), TABLE)
async def test_wrong_value_is_refused_by_its_name(path: str, fields: dict[str, Any], message: str) -> None:
    found = await answer(path, OK[path] | fields)
    assert (found.status, found.json()) == (400, {"error": message})


@pytest.mark.parametrize("path", OK)
async def test_missing_model_is_named(path: str) -> None:
    found = await answer(path, {"stream": False})
    assert (found.status, found.json()) == (400, {"error": "model: Object missing required field `model`"})


@pytest.mark.parametrize("path", ["/api/show", "/api/pull"])
@pytest.mark.parametrize(("body", "message"), NAMES)
async def test_wrong_name_of_a_model_is_refused(path: str, body: dict[str, Any], message: str) -> None:
    found = await answer(path, body)
    assert (found.status, found.json()) == (400, {"error": message})


@pytest.mark.parametrize("path", [*OK, "/api/show", "/api/pull"])
@pytest.mark.parametrize("body", NOT_JSON)
async def test_body_that_is_no_json_object_is_refused(path: str, body: bytes) -> None:
    found = await answer(path, body)
    assert found.status == 400 and isinstance(found.json()["error"], str)


async def test_half_a_character_is_named_as_the_likely_cause() -> None:
    found = await answer(CHAT, b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}]}')
    assert found.status == 400 and "half a character" in found.json()["error"]


@pytest.mark.parametrize("path", OK)
async def test_long_texts_and_repeated_names_are_accepted(path: str) -> None:
    text = "x" * 2**20
    long = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}
    assert (await answer(path, OK[path] | long)).status == 200
    body = json.dumps(OK[path]).removesuffix("}") + ', "stream": true, "stream": false}'
    assert (await answer(path, body.encode())).status == 200


ERRORS: list[errors.LmxError] = [
    errors.RequestError("x"),
    errors.prompt_too_long(9, 8, "messages"),
    errors.UntrustedModelError("x"),
    errors.ModelNotFoundError("x"),
    errors.BusyError("x"),
    errors.WorkerError("x"),
    errors.ShuttingDownError("x"),
    errors.OutOfMemoryError("x"),
    errors.DeadlineError("x"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", ERRORS)
async def test_client_raises_an_error_with_status_and_text(error: errors.LmxError, stream: bool) -> None:
    app = public_app_over(FakePool(lambda active: [Failed(id=active.id, error=error.body())]))
    async with ollama.AsyncClient(host="http://localhost", transport=httpx.ASGITransport(app)) as client:
        with pytest.raises(ollama.ResponseError) as raised:
            found: Any = await client.chat("m", [{"role": "user", "content": "x"}], stream=stream)
            [part async for part in found]
    assert raised.value.status_code == error.status
    assert raised.value.error.startswith(error.message)
