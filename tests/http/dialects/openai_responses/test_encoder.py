"""Events to responses: the order of a stream's events, and the same output whole and streamed."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response as OpenAIResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from lmx_daemon.contract.errors import ContextLengthError, WorkerError
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Finished,
    Loading,
    Started,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lmx_daemon.http.dialects.openai_responses.bodies import ResponsesBody
from lmx_daemon.http.dialects.openai_responses.encoder import ResponsesEncoder
from lmx_daemon.http.dialects.openai_responses.items import opened
from lmx_daemon.http.dialects.openai_responses.response_object import ResponseFrame
from lmx_daemon.http.dialects.openai_responses.tool_table import ToolTable

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
CUSTOM = {"type": "custom", "name": "patch", "description": "Apply a patch"}
SPACE = {"type": "namespace", "name": "mail", "description": "Mail", "tools": [FUNCTION | {"name": "send"}]}
STARTED = Started(id="r", prompt_tokens=3, cached_tokens=1, seed=1)


def finished(reason: Any = "stop") -> Finished:
    usage = Usage(prompt_tokens=3, cached_tokens=1, completion_tokens=4, reasoning_tokens=1)
    return Finished(id="r", endings=(Ending(reason=reason),), usage=usage)


def text(content: str = "", reasoning: str = "") -> Delta:
    return Delta(id="r", content=content, reasoning=reasoning)


def call(index: int, arguments: str, name: str | None = None) -> Delta:
    piece = ToolCallDelta(index=index, id=f"call_{index}" if name else None, name=name, arguments=arguments)
    return Delta(id="r", tool_call=piece)


def encoder(**fields: Any) -> ResponsesEncoder:
    body = msgspec.convert({"model": "m", "input": "Hi"} | fields, ResponsesBody)
    table = ToolTable()
    table.add(body.tools or [])
    return ResponsesEncoder(ResponseFrame("resp_r", "m", 1_700_000_000, body), body, table)


def streamed(made: ResponsesEncoder, events: Sequence[Event]) -> list[dict[str, Any]]:
    data = b"".join(made.stream([event]) for event in events).decode()
    found = []
    for event in data.split("\n\n")[:-1]:
        name, line = event.split("\n")
        value = json.loads(line.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        EVENT.validate_python(value)
        found.append(value)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_message_is_streamed_in_openai_s_order() -> None:
    found = streamed(encoder(), [Loading(id="r", model="m"), STARTED, text("Hel"), text("lo"), finished()])
    assert kinds(found) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    response = found[-1]["response"]
    assert response["status"] == "completed" and response["output"] == [found[-2]["item"]]
    assert found[-2]["item"]["content"][0]["text"] == "Hello"
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 1


EVENTS = [
    STARTED, text(reasoning="Hm"), text("A "), call(0, '{"a"', "f"), call(0, ": 1}"),
    call(1, '{"input": "x\\ny"}', "patch"),
    call(2, "{}", "send"), text("B"), finished("tool_calls"),
]  # fmt: skip


@pytest.mark.parametrize(
    "fields", [{}, {"reasoning": {"summary": "auto"}}, {"include": ["reasoning.encrypted_content"]}]
)
def test_whole_and_streamed_answers_have_the_same_output(fields: dict[str, Any]) -> None:
    made = encoder(tools=[FUNCTION, CUSTOM, SPACE], **fields)
    whole = json.loads(made.whole(EVENTS, 1))
    OpenAIResponse.model_validate(whole)
    found = streamed(made, EVENTS)
    assert found[-1]["response"]["output"] == whole["output"]
    assert [event["item"] for event in found if event["type"] == "response.output_item.done"] == whole["output"]
    assert [item["type"] for item in whole["output"]] == [
        "reasoning", "message", "function_call", "custom_tool_call", "function_call", "message",
    ]  # fmt: skip


def test_calls_lead_back_to_the_client_s_tools() -> None:
    output = json.loads(encoder(tools=[FUNCTION, CUSTOM, SPACE]).whole(EVENTS, 1))["output"]
    function, custom, spaced = output[2:5]
    assert function["arguments"] == '{"a": 1}' and function["call_id"] == "call_0" and "namespace" not in function
    assert custom["name"] == "patch" and custom["input"] == "x\ny"
    assert spaced["name"] == "send" and spaced["namespace"] == "mail"


def test_arguments_arrive_piece_by_piece_and_the_input_of_a_custom_tool_at_once() -> None:
    found = streamed(encoder(tools=[FUNCTION, CUSTOM, SPACE]), EVENTS)
    pieces = [event["delta"] for event in found if event["type"] == "response.function_call_arguments.delta"]
    assert pieces == ['{"a"', ": 1}", "{}"]
    assert [event["delta"] for event in found if event["type"] == "response.custom_tool_call_input.delta"] == ["x\ny"]


def test_reasoning_is_a_summary_only_if_asked_for() -> None:
    events = [STARTED, text(reasoning="Hm"), finished()]
    plain = json.loads(encoder().whole(events, 1))["output"][0]
    assert plain["content"][0]["text"] == "Hm" and plain["summary"] == []
    asked = encoder(reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"])
    item = json.loads(asked.whole(events, 1))["output"][0]
    assert item["summary"][0]["text"] == "Hm" and opened(item["encrypted_content"]) == "Hm"


def test_an_answer_cut_by_its_limit_is_incomplete() -> None:
    found = streamed(encoder(), [STARTED, text("Hel"), finished("length")])
    assert kinds(found)[-2:] == ["output_item.done", "incomplete"] and found[-2]["item"]["status"] == "incomplete"
    assert found[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(WorkerError("it crashed"), "server_error"), (ContextLengthError("too long"), "context_length_exceeded")],
)
def test_a_failed_stream_ends_with_response_failed(error: Any, code: str) -> None:
    made = encoder()
    streamed(made, [STARTED, text("Hel")])
    events = [json.loads(event.split("\n")[1][6:]) for event in made.failed(error).decode().split("\n\n")[:-1]]
    assert kinds(events)[-2:] == ["output_item.done", "failed"]
    assert events[-1]["response"]["error"] == {"code": code, "message": error.message}
    assert events[-1]["response"]["status"] == "failed"


def test_an_empty_answer_is_complete() -> None:
    assert kinds(streamed(encoder(), [STARTED, finished()])) == ["created", "in_progress", "completed"]


def test_log_probabilities_are_those_of_the_text() -> None:
    token = TokenLogprob(token="Hi", id=1, logprob=-0.5, bytes=(72, 105))
    delta = Delta(id="r", content="Hi", logprobs=(token,))
    made = encoder(include=["message.output_text.logprobs"])
    whole = json.loads(made.whole([STARTED, delta, finished()], 1))
    OpenAIResponse.model_validate(whole)
    assert whole["output"][0]["content"][0]["logprobs"][0]["token"] == "Hi"
    streamed(made, [STARTED, delta, finished()])
