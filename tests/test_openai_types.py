"""The validation of OpenAI answers refuses what differs from OpenAI's types in any place."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import ValidationError as SchemaError
from pydantic import ValidationError as TypesError

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, TokenLogprob, ToolCallDelta
from lmx_daemon.http.dialects.openai_chat.completions.completion_encoder import CompletionEncoder
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder
from tests.openai_types import SCHEMAS, TYPES, check, check_stream, validator

EVENTS: list[Event] = [
    Delta(id="r", content="a", tokens=1, logprobs=(TokenLogprob(token="a", id=5, logprob=-0.5, bytes=(97,)),)),
    Delta(id="r", tool_call=ToolCallDelta(index=0, id="call_1", name="f", arguments="{}")),
    Finished(id="r", endings=(Ending(reason="tool_calls"),)),
]
REFUSALS = (SchemaError, TypesError, AssertionError)


def changed(change: Callable[[Any], Any]) -> bytes:
    """Return a valid chat answer with one change."""
    answer = json.loads(ChatEncoder("id", "m").whole(EVENTS, 1))
    change(answer)
    return json.dumps(answer).encode()


def test_every_type_has_a_schema() -> None:
    assert {file.stem for file in SCHEMAS.glob("*.json")} - {"parts"} == set(TYPES)
    for kind in TYPES:
        validator(kind)


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.update(extra=1),
        lambda answer: answer["choices"][0].update(extra=1),
        lambda answer: answer["choices"][0]["message"]["tool_calls"][0]["function"].update(extra=1),
        lambda answer: answer["choices"][0]["logprobs"]["content"][0].update(extra=1),
        lambda answer: answer["usage"]["prompt_tokens_details"].update(extra=1),
        lambda answer: answer.pop("created"),
        lambda answer: answer.pop("usage"),
        lambda answer: answer["choices"][0].pop("logprobs"),
        lambda answer: answer["choices"][0]["message"].pop("refusal"),
        lambda answer: answer["choices"][0].update(finish_reason="cancelled"),
        lambda answer: answer["choices"][0]["message"].update(role="model"),
        lambda answer: answer["choices"][0]["message"].update(content=None, tool_calls=[]),
        lambda answer: answer["usage"].update(total_tokens="7"),
        lambda answer: answer["choices"][0].update(index=True),
        lambda answer: answer.update(object="chat.completion.chunk"),
    ],
)
def test_answer_with_one_fault_is_refused(change: Callable[[Any], Any]) -> None:
    check("chat_completion", changed(lambda answer: None))
    with pytest.raises(REFUSALS):
        check("chat_completion", changed(change))


def test_field_that_openai_does_not_define_is_refused_by_the_types_alone() -> None:
    with pytest.raises(AssertionError, match=r"choices\[0\]\.message\.thought"):
        check("chat_completion", changed(lambda answer: answer["choices"][0]["message"].update(thought="x")))


def test_chunk_with_one_fault_is_refused() -> None:
    stream = ChatEncoder("id", "m").stream(EVENTS)
    assert len(check_stream("chat_completion_chunk", stream)) == 4
    for old, new in (
        (b'"type":"function",', b""),
        (b'"index":0,"delta"', b'"delta"'),
        (b"data: [DONE]\n\n", b""),
        (b'"finish_reason":"tool_calls"', b'"finish_reason":"tools"'),
        (b'"content":"a"', b'"content":"a","text":"a"'),
        (b"data: [DONE]\n\n", b"data: [DONE]\n"),
    ):
        assert old in stream
        with pytest.raises(REFUSALS):
            check_stream("chat_completion_chunk", stream.replace(old, new))


def test_completion_without_a_reason_is_refused_outside_a_stream() -> None:
    answer = json.loads(CompletionEncoder("id", "m").whole([Finished(id="r", endings=(Ending(reason="stop"),))], 1))
    answer["choices"][0]["finish_reason"] = None
    with pytest.raises(REFUSALS):
        check("completion", json.dumps(answer))
    ends = ChatEncoder("id", "m").failed(WorkerError("it crashed"))
    assert check_stream("completion_chunk", ends)[0]["error"]["code"] == "worker_failed"
