"""Wrong requests to LM Studio's own routes, and the exact error of each. Those of /api/v0 have OpenAI's bodies."""

import json
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Ending, Event, Finished
from tests.http.asgi import Answer, FakePool, ask, public_app_over
from tests.http.not_json import NOT_JSON

CHAT, LOAD, UNLOAD, DOWNLOAD = (
    f"/api/v1/{name}" for name in ("chat", "models/load", "models/unload", "models/download")
)
OK: dict[str, dict[str, Any]] = {CHAT: {"model": "m", "input": "x"}, LOAD: {}, UNLOAD: {}, DOWNLOAD: {}}
END: list[Event] = [Finished(id="r", endings=(Ending(reason="stop"),))]
WRONG_CHAT: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model: Expected `str` of length >= 1"),
    ({"model": 5}, "model: Expected `str`, got `int`"),
    ({"input": None}, "input: Expected `str | array`, got `null`"),
    ({"input": 5}, "input: Expected `str | array`, got `int`"),
    ({"input": []}, "input is empty"),
    ({"input": ["x"]}, "input[0]: Expected `object`, got `str`"),
    ({"input": [{}]}, "input[0].type: Object missing required field `type`"),
    ({"input": [{"type": "smell"}]}, "input[0].type: Invalid enum value 'smell'"),
    ({"input": [{"type": "text"}]}, "input[0]: a text needs content"),
    ({"input": [{"type": "image"}]}, "input[0]: an image needs data_url"),
    (
        {"input": [{"type": "image", "data_url": "http://a.example/b.png"}]},
        "this model does not accept images",
    ),
    ({"input": [{"type": "text", "content": "x"}] * 1001}, "input: Expected `array` of length <= 1000"),
    ({"system_prompt": 5}, "system_prompt: Expected `str | null`, got `int`"),
    ({"integrations": "x"}, "integrations: Expected `array | null`, got `str`"),
    ({"integrations": ["mcp/x"]}, "integrations: plugins and MCP servers are not run by lmx"),
    ({"stream": 1}, "stream: Expected `bool`, got `int`"),
    ({"temperature": 2.5}, "temperature: Expected `float` <= 2.0"),
    ({"temperature": "hot"}, "temperature: Expected `float | null`, got `str`"),
    ({"top_p": -1}, "top_p: Expected `float` >= 0.0"),
    ({"top_k": -1}, "top_k: Expected `int` >= 0"),
    ({"min_p": 2}, "min_p: Expected `float` <= 1.0"),
    ({"repeat_penalty": 0}, "repeat_penalty: Expected `float` >= 0.01"),
    ({"max_output_tokens": 0}, "max_output_tokens: Expected `int` >= 1"),
    ({"max_output_tokens": 2**40}, "max_output_tokens: Expected `int` <= 2147483647"),
    ({"reasoning": "deep"}, "reasoning: Invalid enum value 'deep'"),
    ({"reasoning": 5}, "reasoning: Expected `str | null`, got `int`"),
    ({"context_length": 0}, "context_length: Expected `int` >= 1"),
    ({"store": "yes"}, "store: Expected `bool`, got `str`"),
    ({"previous_response_id": 5}, "previous_response_id: Expected `str | null`, got `int`"),
    ({"ttl": -2}, "ttl: Expected `float` >= -1.0"),
    ({"ttl": "5m"}, "ttl: Expected `float | null`, got `str`"),
    ({"messages": []}, "Object contains unknown field `messages`"),
]
WRONG_LOAD: list[tuple[dict[str, Any], str]] = [
    ({}, "model: Object missing required field `model`"),
    ({"model": 5}, "model: Expected `str`, got `int`"),
    ({"model": "m", "context_length": 0}, "context_length: Expected `int` >= 1"),
    ({"model": "m", "context_length": "x"}, "context_length: Expected `int | null`, got `str`"),
    ({"model": "m", "parallel": 0}, "parallel: Expected `int` >= 1"),
    ({"model": "m", "ttl": -5}, "ttl: Expected `float` >= -1.0"),
    ({"model": "m", "flash_attention": "on"}, "flash_attention: Expected `bool | null`, got `str`"),
    ({"model": "m", "gpu": "max"}, "Object contains unknown field `gpu`"),
]
TABLE = [
    *((CHAT, fields, message) for fields, message in WRONG_CHAT),
    *((LOAD, fields, message) for fields, message in WRONG_LOAD),
    (UNLOAD, {}, "instance_id: Object missing required field `instance_id`"),
    (UNLOAD, {"instance_id": 5}, "instance_id: Expected `str`, got `int`"),
    (UNLOAD, {"instance_id": "x", "model": "m"}, "Object contains unknown field `model`"),
    (DOWNLOAD, {}, "model: Object missing required field `model`"),
    (DOWNLOAD, {"model": 5}, "model: Expected `str`, got `int`"),
    (DOWNLOAD, {"model": "m", "gpu": 1}, "Object contains unknown field `gpu`"),
]


async def answer(path: str, body: Any, folder: Path) -> Answer:
    return await ask(public_app_over(FakePool(lambda _: END), folder=folder, manage_over_tcp=True), "POST", path, body)


@pytest.mark.parametrize(("path", "fields", "message"), TABLE)
async def test_wrong_value_is_refused_by_its_name(
    path: str, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    found = await answer(path, OK[path] | fields, tmp_path)
    assert found.status == 400, found.body
    error = found.json()["error"]
    assert error["message"] == message and error["type"] in ("invalid_request", "not_implemented")
    assert error.get("param") is None or error["param"].startswith((*fields, "instance_id", "model"))


async def test_answer_to_continue_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    found = await answer(CHAT, OK[CHAT] | {"previous_response_id": "resp_no"}, tmp_path)
    assert found.status == 404 and found.json()["error"]["param"] == "previous_response_id"


@pytest.mark.parametrize("path", OK)
@pytest.mark.parametrize("body", NOT_JSON)
async def test_body_that_is_no_json_object_is_refused(path: str, body: bytes, tmp_path: Path) -> None:
    found = await answer(path, body, tmp_path)
    assert found.status == 400 and found.json()["error"]["type"] == "invalid_request"


async def test_long_texts_and_repeated_names_are_accepted(tmp_path: Path) -> None:
    assert (await answer(CHAT, OK[CHAT] | {"input": "x" * 2**20}, tmp_path)).status == 200
    twice = json.dumps(OK[CHAT]).removesuffix("}") + ', "top_p": 0.5, "top_p": 1}'
    assert (await answer(CHAT, twice.encode(), tmp_path)).status == 200
