"""Encoding of events as answers of Ollama's routes."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Finished,
    Started,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lmx_daemon.contract.generation.requests import Message, TextPart
from lmx_daemon.http.dialects.ollama.answers import OllamaChatLine, OllamaGenerateLine
from lmx_daemon.http.dialects.ollama.context import unpacked
from lmx_daemon.http.dialects.ollama.encoders import OllamaChatEncoder, OllamaEncoder, OllamaGenerateEncoder
from tests.documented_answers import check

STARTED = Started(id="r", prompt_tokens=3, cached_tokens=1, seed=1)
FINISHED = Finished(
    id="r",
    endings=(Ending(reason="stop"),),
    usage=Usage(prompt_tokens=3, completion_tokens=2),
    timings=Timings(prefill=0.5, first_token=0.75, decode=0.25, load=0.125),
)
CALLED = Finished(id="r", endings=(Ending(reason="tool_calls"),))


def lines(encoder: OllamaEncoder, events: Sequence[Event]) -> list[dict[str, Any]]:
    data = b"".join(encoder.stream([event]) for event in events)
    kind = "chat" if isinstance(encoder, OllamaChatEncoder) else "generate"
    return [check("ollama", kind, line) for line in data.splitlines()]


def call(index: int, arguments: str, name: str | None = None) -> Delta:
    piece = ToolCallDelta(index=index, id=f"call_{index}" if name else None, name=name, arguments=arguments)
    return Delta(id="r", tool_call=piece)


def test_a_stream_has_a_line_for_each_part_and_a_last_one_with_counts_in_nanoseconds() -> None:
    events = [
        STARTED,
        Delta(id="r", reasoning="Hm"),
        Delta(id="r", content="Hel"),
        Delta(id="r", content="lo"),
        FINISHED,
    ]
    found = lines(OllamaChatEncoder("m"), events)
    for line in found:
        msgspec.convert(line, OllamaChatLine)
    assert [line["message"].get("thinking", "") for line in found] == ["Hm", "", "", ""]
    assert "".join(line["message"]["content"] for line in found) == "Hello"
    assert [line["done"] for line in found] == [False, False, False, True]
    assert found[-1]["done_reason"] == "stop" and found[-1]["eval_count"] == 2
    assert found[-1]["total_duration"] == 1_000_000_000 and found[-1]["load_duration"] == 125_000_000


def test_a_call_is_sent_once_its_arguments_are_complete() -> None:
    events = [call(0, '{"a"', "f"), call(0, ": 1}"), call(1, "{}", "g"), CALLED]
    found = lines(OllamaChatEncoder("m"), events)
    calls = [call["function"] for line in found for call in line["message"].get("tool_calls", ())]
    assert calls == [{"index": 0, "name": "f", "arguments": {"a": 1}}, {"index": 1, "name": "g", "arguments": {}}]
    assert found[-1]["done_reason"] == "stop"


def test_a_whole_answer_is_the_sum_of_the_stream() -> None:
    events = [STARTED, Delta(id="r", content="Hi "), Delta(id="r", content="you"), call(0, '{"a": 1}', "f"), CALLED]
    whole = check("ollama", "chat", OllamaChatEncoder("m").whole(events, 1))
    msgspec.convert(whole, OllamaChatLine)
    assert whole["message"]["content"] == "Hi you" and whole["done"]
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_arguments_that_are_no_object_are_put_into_one() -> None:
    whole = json.loads(OllamaChatEncoder("m").whole([call(0, "not json", "f"), CALLED], 1))
    assert whole["message"]["tool_calls"][0]["function"]["arguments"] == {"arguments": "not json"}


def test_generate_returns_the_context_of_the_next_turn() -> None:
    asked = [Message(role="user", content=(TextPart(text="Hi"),))]
    events = [Delta(id="r", content="Hel"), Delta(id="r", content="lo"), FINISHED]
    found = lines(OllamaGenerateEncoder("m", asked), events)
    for line in found:
        msgspec.convert(line, OllamaGenerateLine)
    assert [message.text for message in unpacked(found[-1]["context"])] == ["Hi", "Hello"]
    whole = json.loads(OllamaGenerateEncoder("m", asked).whole(events, 1))
    assert unpacked(whole["context"])[-1].text == whole["response"] == "Hello"
    assert "context" not in lines(OllamaGenerateEncoder("m", None), events)[-1]


def test_log_probabilities_are_sent_with_their_tokens() -> None:
    token = TokenLogprob(token="a", id=1, logprob=-0.5, bytes=(97,))
    delta = Delta(id="r", content="a", logprobs=(msgspec.structs.replace(token, top=(token,)),))
    (line,) = lines(OllamaChatEncoder("m"), [delta])
    msgspec.convert(line, OllamaChatLine)
    assert line["logprobs"][0]["top_logprobs"] == [{"token": "a", "logprob": -0.5, "bytes": [97]}]


def test_a_failed_stream_ends_with_an_error_line() -> None:
    assert json.loads(OllamaChatEncoder("m").failed(WorkerError("it crashed"))) == {"error": "it crashed"}
