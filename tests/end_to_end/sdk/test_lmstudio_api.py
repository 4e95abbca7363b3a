"""LM Studio's REST API of the real daemon: models, chat with stored answers, load and unload."""

import json
import urllib.error
import urllib.request
from typing import Any

import msgspec
import pytest

from lmx_daemon.http.dialects.lmstudio import answers
from lmx_daemon.http.dialects.openai_chat.answers import UsageAnswer
from tests.end_to_end.running import Daemon

GUIDE = "lmx/guide"


def call(daemon: Daemon, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    named = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(daemon.address + path, data=data, headers=named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def chat(daemon: Daemon, text: str, **fields: Any) -> answers.V1Chat:
    body = {"model": GUIDE, "input": text, "temperature": 0, "max_output_tokens": 24} | fields
    status, data = call(daemon, "POST", "/api/v1/chat", body)
    assert status == 200, data
    return msgspec.json.decode(data, type=answers.V1Chat)


def test_greeting_is_the_one_that_programs_look_for(daemon: Daemon) -> None:
    assert call(daemon, "GET", "/lmstudio-greeting") == (200, b'{"lmstudio":true}')


def test_lists_fit_the_closed_forms(daemon: Daemon) -> None:
    v0 = msgspec.json.decode(call(daemon, "GET", "/api/v0/models")[1], type=answers.V0Models)
    v1 = msgspec.json.decode(call(daemon, "GET", "/api/v1/models")[1], type=answers.V1Models)
    assert [model.id for model in v0.data] == [model.key for model in v1.models] == [GUIDE, "tests/talker"]
    one = msgspec.json.decode(call(daemon, "GET", "/api/v0/models/lmx%2Fguide")[1], type=answers.V0Model)
    assert one.id == GUIDE and one.capabilities == ["tool_use"]


def test_a_stored_answer_is_continued_by_its_id(daemon: Daemon) -> None:
    first = chat(daemon, "How do I change the port?")
    assert isinstance(first.response_id, str) and first.output[0].content
    second = chat(daemon, "And how do I stop it?", previous_response_id=first.response_id)
    assert second.stats.input_tokens > first.stats.input_tokens + 20
    status, data = call(
        daemon, "POST", "/api/v1/chat", {"model": GUIDE, "input": "x", "previous_response_id": "resp_no"}
    )
    assert status == 404 and json.loads(data)["error"]["param"] == "previous_response_id"


def test_an_answer_that_is_not_to_be_stored_has_no_id(daemon: Daemon) -> None:
    assert chat(daemon, "Hi", store=False).response_id is msgspec.UNSET


def test_a_stream_ends_with_the_whole_answer(daemon: Daemon) -> None:
    body = {"model": GUIDE, "input": [{"type": "text", "content": "How do I change the port?"}], "stream": True}
    status, data = call(daemon, "POST", "/api/v1/chat", body | {"temperature": 0, "max_output_tokens": 24})
    events = [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]
    assert status == 200 and events[0]["type"] == "chat.start" and events[-1]["type"] == "chat.end"
    text = "".join(event["content"] for event in events if event["type"] == "message.delta")
    result = msgspec.convert(events[-1]["result"], answers.V1Chat)
    assert text == result.output[-1].content and result.response_id


def test_load_and_unload(own_daemon: Daemon) -> None:
    own_daemon.start()
    body = {"model": GUIDE, "context_length": 512, "echo_load_config": True}
    loaded = msgspec.json.decode(call(own_daemon, "POST", "/api/v1/models/load", body)[1], type=answers.V1Loaded)
    assert loaded.status == "loaded" and isinstance(loaded.load_config, answers.V1InstanceConfig)
    assert loaded.load_config.context_length == 512
    v0 = msgspec.json.decode(call(own_daemon, "GET", "/api/v0/models")[1], type=answers.V0Models)
    assert v0.data[0].state == "loaded" and v0.data[0].loaded_context_length == 512
    asked = {"model": GUIDE, "input": "Hi", "context_length": 513}
    status, data = call(own_daemon, "POST", "/api/v1/chat", asked)
    assert status == 400 and b"is loaded with a context of 512 tokens, not 513" in data
    assert chat(own_daemon, "Hi", context_length=512).output[0].content
    status, data = call(own_daemon, "POST", "/api/v1/models/unload", {"instance_id": loaded.instance_id})
    assert status == 200 and json.loads(data) == {"instance_id": loaded.instance_id}
    assert call(own_daemon, "POST", "/api/v1/models/unload", {"instance_id": loaded.instance_id})[0] == 404


def test_v0_chat_streams_openai_chunks_with_statistics_in_the_last(daemon: Daemon) -> None:
    body = {"model": GUIDE, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": -1, "stream": True}
    data = call(daemon, "POST", "/api/v0/chat/completions", body | {"stop": ["."]})[1].decode()
    *chunks, done = [line[6:] for line in data.split("\n") if line.startswith("data: ")]
    decoded = [msgspec.json.decode(chunk, type=answers.V0ChatCompletionChunk) for chunk in chunks]
    assert done == "[DONE]" and decoded[-1].stats and decoded[-1].usage


@pytest.mark.parametrize("stream", [False, True])
def test_v0_completions_answer_several_prompts(daemon: Daemon, stream: bool) -> None:
    body = {"model": GUIDE, "prompt": ["One", "Two"], "max_tokens": 4, "echo": True, "temperature": 0, "stream": stream}
    status, data = call(daemon, "POST", "/api/v0/completions", body)
    assert status == 200, data
    if not stream:
        found = msgspec.json.decode(data, type=answers.V0Completion)
        assert [choice.text[:3] for choice in found.choices] == ["One", "Two"] and found.stats
        return
    *chunks, done = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
    decoded = [msgspec.json.decode(chunk, type=answers.V0CompletionChunk) for chunk in chunks]
    texts = ["".join(c.text for chunk in decoded for c in chunk.choices if c.index == index) for index in (0, 1)]
    assert done == "[DONE]" and [text[:3] for text in texts] == ["One", "Two"]
    usage = decoded[-1].usage
    assert decoded[-1].stats and isinstance(usage, UsageAnswer) and usage.completion_tokens == 8


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/api/v1/models/load", {"model": GUIDE, "gpu": "max"}, 400, "gpu"),
        ("POST", "/api/v1/chat", {"model": GUIDE, "input": "x", "integrations": ["mcp/x"]}, 400, "integrations"),
        ("POST", "/api/v1/chat", {"model": GUIDE, "input": "x " * 200, "context_length": 100}, 400, "> 100 maximum"),
        ("POST", "/api/v1/chat", {"model": "no/model", "input": "x"}, 404, "model_not_found"),
        ("POST", "/api/v1/models/download", {"model": "org/model"}, 403, "manage_over_tcp"),
        ("GET", "/api/v1/nothing", None, 404, "Unexpected endpoint or method. (GET /api/v1/nothing)"),
        ("GET", "/api/v9/nothing", None, 404, "Unexpected endpoint or method. (GET /api/v9/nothing)"),
    ],
)
def test_wrong_request_gets_the_form_and_the_status(
    daemon: Daemon, method: str, path: str, body: Any, status: int, text: str
) -> None:
    found, data = call(daemon, method, path, body)
    assert found == status and text in data.decode() and "error" in json.loads(data)


def test_websocket_of_lm_studio_is_refused_with_the_reason(daemon: Daemon) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "a" * 22 + "==",
        "Sec-WebSocket-Version": "13",
    }
    status, data = call(daemon, "GET", "/llm", None, **upgrade)
    assert status == 501 and "WebSocket" in json.loads(data)["error"]
