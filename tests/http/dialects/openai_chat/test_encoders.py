"""Events as OpenAI's answers: any text survives, and every object is valid by the types of the `openai` package."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Finished,
    Started,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lmx_daemon.http.dialects.openai_chat.completions.completion_encoder import CompletionEncoder
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder
from tests.openai_types import check, check_stream

LOGPROB = TokenLogprob(
    token="a", id=5, logprob=-0.5, bytes=(97,), top=(TokenLogprob(token="a", id=5, logprob=-0.5, bytes=(97,)),)
)
CALL = ToolCallDelta(index=0, id="call_1", name="f", arguments='{"a": 1}')
EVENTS: list[Event] = [
    Started(id="r", prompt_tokens=3, cached_tokens=1, seed=7),
    Delta(id="r", reasoning="hm"),
    Delta(id="r", content="a", tokens=1, logprobs=(LOGPROB,)),
    Delta(id="r", tool_call=CALL),
    Finished(id="r", endings=(Ending(reason="tool_calls"),), usage=Usage(prompt_tokens=3, completion_tokens=4)),
]
FINISHED = Finished(id="r", endings=(Ending(reason="stop"),))


def chunks(stream: bytes) -> list[Any]:
    """Return the data of each event of a stream; [DONE] as a string."""
    found = []
    for event in stream.decode().split("\n\n"):
        if event:
            assert event.startswith("data: ") and "\n" not in event
            data = event.removeprefix("data: ")
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


@given(texts=st.lists(st.text(max_size=30), max_size=6))
def test_any_text_survives_the_stream(texts: list[str]) -> None:
    encoder = ChatEncoder("id", "m")
    events: list[Event] = [Delta(id="r", content=text) for text in texts]
    events.append(Finished(id="r", endings=(Ending(reason="stop"),)))
    read = chunks(encoder.stream(events))
    assert read[-1] == "[DONE]"
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in read[:-1]) == "".join(texts)


@given(model=st.text(max_size=20) | st.just('[null],"usage":null}'), usage=st.booleans())
def test_chunk_is_valid_json_for_any_model_name(model: str, usage: bool) -> None:
    _, chunk = chunks(ChatEncoder("id", model, usage).stream([Delta(id="r", content="a")]))
    assert chunk["model"] == model and chunk["choices"][0]["delta"]["content"] == "a"
    assert list(chunk)[-1] == ("usage" if usage else "choices")


@pytest.mark.parametrize("names", [(), ("reasoning_content",), ("reasoning_content", "reasoning")])
def test_reasoning_has_the_names_that_the_client_reads(names: tuple[str, ...]) -> None:
    whole = json.loads(ChatEncoder("id", "m", reasoning_names=names).whole(EVENTS, 1))
    (message,) = [choice["message"] for choice in whole["choices"]]
    deltas = [
        c["choices"][0]["delta"] for c in chunks(ChatEncoder("id", "m", reasoning_names=names).stream(EVENTS))[:-1]
    ]
    for found in (message, {name: value for delta in deltas for name, value in delta.items()}):
        assert {name: value for name, value in found.items() if "reasoning" in name} == dict.fromkeys(names, "hm")


def test_a_failure_in_the_middle_ends_the_stream_without_done() -> None:
    encoder = ChatEncoder("id", "m")
    read = chunks(
        encoder.stream([Delta(id="r", content="a")]) + encoder.failed(WorkerError("it crashed", hint="again"))
    )
    assert len(read) == 3 and read[-1]["error"]["code"] == "worker_failed" and read[-1]["error"]["hint"] == "again"


def test_usage_is_the_last_chunk_and_only_on_request() -> None:
    with_usage = chunks(ChatEncoder("id", "m", True).stream(EVENTS))
    assert with_usage[-2]["usage"]["total_tokens"] == 7 and with_usage[-2]["choices"] == []
    assert all(chunk["usage"] is None for chunk in with_usage[:-2])
    assert not any("usage" in chunk for chunk in chunks(ChatEncoder("id", "m").stream(EVENTS))[:-1])


def test_role_and_call_names_come_once() -> None:
    deltas = [c["choices"][0]["delta"] for c in chunks(ChatEncoder("id", "m").stream(EVENTS))[:-1]]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert not any("role" in delta for delta in deltas[1:]) and deltas[-1] == {}
    more = ChatEncoder("id", "m")
    more.stream([Delta(id="r", tool_call=CALL)])
    (later,) = chunks(more.stream([Delta(id="r", tool_call=ToolCallDelta(index=0, arguments="x"))]))
    assert later["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": "x"}}]


def test_offsets_of_old_log_probabilities_go_on_from_chunk_to_chunk() -> None:
    words = [
        TokenLogprob(token=word, id=1, logprob=-0.5, bytes=tuple(word.encode())) for word in ("one", " two", " three")
    ]
    deltas: list[Event] = [
        Delta(id="r", content="one two", logprobs=tuple(words[:2])),
        Delta(id="r", choice=1, content="one", logprobs=tuple(words[:1])),
        Delta(id="r", content=" three", logprobs=tuple(words[2:])),
    ]
    finished = Finished(id="r", endings=(Ending(reason="stop"), Ending(reason="stop")))
    streamed = [c["choices"][0]["logprobs"] for c in chunks(CompletionEncoder("id", "m").stream(deltas))]
    assert [logprobs["text_offset"] for logprobs in streamed] == [[0, 3], [0], [7]]
    whole = json.loads(CompletionEncoder("id", "m").whole([*deltas, finished], 2))
    assert [choice["logprobs"]["text_offset"] for choice in whole["choices"]] == [[0, 3, 7], [0]]


def test_parts_of_a_character_share_its_offset_and_are_marked() -> None:
    parts = (b"a", b"\xf0\x9f", b"\x98\x80", b"b")
    tokens = tuple(
        TokenLogprob(token=part.decode(errors="backslashreplace"), id=1, logprob=-0.5, bytes=tuple(part))
        for part in parts
    )
    deltas: list[Event] = [Delta(id="r", logprobs=tokens[:2]), Delta(id="r", content="a😀b", logprobs=tokens[2:])]
    streamed = [c["choices"][0]["logprobs"] for c in chunks(CompletionEncoder("id", "m").stream(deltas))]
    assert [logprobs["text_offset"] for logprobs in streamed] == [[0, 1], [1, 2]]
    assert streamed[0]["tokens"] == ["a", "bytes:\\xf0\\x9f"] and streamed[1]["tokens"] == ["bytes:\\x98\\x80", "b"]


class TestTypes:
    """Answers against the types of the `openai` package and the schemas in tests/schemas."""

    @pytest.mark.parametrize("legacy", [False, True])
    def test_whole_chat_answer_is_valid(self, legacy: bool) -> None:
        answer = check("chat_completion", ChatEncoder("id", "m", legacy=legacy).whole(EVENTS, 1))
        assert ("function_call" in answer["choices"][0]["message"]) is legacy

    @pytest.mark.parametrize("legacy", [False, True])
    @pytest.mark.parametrize("usage", [False, True])
    def test_every_chunk_of_a_chat_stream_is_valid(self, usage: bool, legacy: bool) -> None:
        later = Delta(id="r", tool_call=ToolCallDelta(index=0, arguments="1"))
        events = [*EVENTS[:-1], later, EVENTS[-1]]
        chunks = check_stream("chat_completion_chunk", ChatEncoder("id", "m", usage, legacy=legacy).stream(events))
        assert len(chunks) == 6 + usage

    def test_stream_without_output_is_valid(self) -> None:
        role, end = check_stream("chat_completion_chunk", ChatEncoder("id", "m").stream([FINISHED]))
        assert role["choices"][0]["delta"]["role"] == "assistant" and end["choices"][0]["finish_reason"] == "stop"

    def test_each_choice_of_a_stream_begins_with_its_role_and_ends_with_its_reason(self) -> None:
        deltas: list[Event] = [Delta(id="r", choice=choice, content="a") for choice in (1, 0, 1)]
        ends = Finished(id="r", endings=(Ending(reason="stop"), Ending(reason="length"), Ending(reason="stop")))
        stream = ChatEncoder("id", "m").stream([*deltas, ends])
        found = [chunk["choices"][0] for chunk in check_stream("chat_completion_chunk", stream)]
        roles = [choice["index"] for choice in found if "role" in choice["delta"]]
        reasons = {choice["index"]: choice["finish_reason"] for choice in found if choice["finish_reason"]}
        assert roles == [1, 0, 2] and reasons == {0: "stop", 1: "length", 2: "stop"}

    @pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "cancelled"])
    def test_every_reason_of_an_end_has_a_name_of_openai(self, reason: Any) -> None:
        events = [*EVENTS[:-1], Finished(id="r", endings=(Ending(reason=reason),))]
        check("chat_completion", ChatEncoder("id", "m").whole(events, 1))
        check_stream("chat_completion_chunk", ChatEncoder("id", "m").stream(events))

    @pytest.mark.parametrize("usage", [False, True])
    def test_completions_are_valid(self, usage: bool) -> None:
        events = [EVENTS[0], EVENTS[2], Finished(id="r", endings=(Ending(reason="length"),))]
        check("completion", CompletionEncoder("id", "m").whole(events, 1))
        assert len(check_stream("completion_chunk", CompletionEncoder("id", "m", usage).stream(events))) == 2 + usage

    @pytest.mark.parametrize("usage", [False, True])
    def test_tokens_left_out_of_a_prompt_are_stated_in_every_form(self, usage: bool) -> None:
        counts = Usage(prompt_tokens=3, completion_tokens=4, truncated_tokens=70)
        events = [EVENTS[0], EVENTS[2], Finished(id="r", endings=(Ending(reason="stop"),), usage=counts)]
        for encoder, kind in ((ChatEncoder, "chat_completion"), (CompletionEncoder, "completion")):
            answer = check(kind, encoder("id", "m").whole(events, 1))
            assert answer["usage"]["prompt_tokens_details"]["truncated_tokens"] == 70
            chunks = check_stream(f"{kind}_chunk", encoder("id", "m", usage).stream(events))
            assert [chunk.get("truncated_tokens") for chunk in chunks if chunk["choices"]][-1] == 70
            assert not usage or chunks[-1]["usage"]["prompt_tokens_details"]["truncated_tokens"] == 70

    def test_token_without_text_has_its_log_probability_in_a_chunk_with_empty_content(self) -> None:
        events = [Delta(id="r", logprobs=(LOGPROB,), tokens=1), FINISHED]
        chunks = check_stream("chat_completion_chunk", ChatEncoder("id", "m").stream(events))
        assert chunks[1]["choices"][0]["delta"] == {"content": ""}

    def test_stream_that_fails_is_valid_and_ends_with_an_error(self) -> None:
        encoder = ChatEncoder("id", "m")
        stream = encoder.stream(EVENTS[:3]) + encoder.failed(WorkerError("it crashed", hint="try again"))
        assert check_stream("chat_completion_chunk", stream)[-1]["error"]["hint"] == "try again"
