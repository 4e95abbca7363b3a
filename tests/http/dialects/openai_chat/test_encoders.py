"""Encoding of events as OpenAI's answers: any text is preserved, and objects match OpenAI's schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.events import Delta, Ending, Event, Finished, Started, TokenLogprob, ToolCallDelta, Usage
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder, CompletionEncoder

SCHEMA = Path(__file__).parents[4].parent / "shared" / "openai" / "openapi.json"
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
    (chunk,) = chunks(ChatEncoder("id", model, usage).stream([Delta(id="r", content="a")]))
    assert chunk["model"] == model and chunk["choices"][0]["delta"]["content"] == "a"
    assert list(chunk)[-1] == ("usage" if usage else "choices")


def test_a_failure_in_the_middle_ends_the_stream_without_done() -> None:
    encoder = ChatEncoder("id", "m")
    read = chunks(
        encoder.stream([Delta(id="r", content="a")]) + encoder.failed(WorkerError("it crashed", hint="again"))
    )
    assert len(read) == 2 and read[-1]["error"]["code"] == "worker_failed" and read[-1]["error"]["hint"] == "again"


def test_usage_is_the_last_chunk_and_only_on_request() -> None:
    with_usage = chunks(ChatEncoder("id", "m", True).stream(EVENTS))
    assert with_usage[-2]["usage"]["total_tokens"] == 7 and with_usage[-2]["choices"] == []
    assert all(chunk["usage"] is None for chunk in with_usage[:-2])
    assert not any("usage" in chunk for chunk in chunks(ChatEncoder("id", "m").stream(EVENTS))[:-1])


def test_role_and_call_names_come_once() -> None:
    deltas = [c["choices"][0]["delta"] for c in chunks(ChatEncoder("id", "m").stream(EVENTS))[:-1]]
    assert [("role" in delta) for delta in deltas] == [True, False, False, False]
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


def with_nulls(schema: Any) -> Any:
    """Return the schema with OpenAPI's `nullable` as JSON Schema has it."""
    if isinstance(schema, list):
        return [with_nulls(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: with_nulls(entry) for name, entry in schema.items()}
    if made.get("nullable") is True:
        made.pop("nullable")
        return {"anyOf": [made, {"type": "null"}]}
    return made


class TestSchema:
    """Encoded answers against OpenAI's description of its routes."""

    @pytest.fixture(scope="class")
    def components(self) -> dict[str, Any]:
        if not SCHEMA.exists():
            pytest.skip("needs the recorded files in ../shared")
        found: dict[str, Any] = with_nulls(json.loads(SCHEMA.read_text()))
        return found

    def check(self, components: dict[str, Any], name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    def test_a_whole_chat_answer(self, components: dict[str, Any]) -> None:
        answer = json.loads(ChatEncoder("id", "m").whole(EVENTS, 1))
        self.check(components, "CreateChatCompletionResponse", answer)

    def test_the_old_form_of_a_call(self, components: dict[str, Any]) -> None:
        encoder = ChatEncoder("id", "m", True, legacy=True)
        self.check(components, "CreateChatCompletionResponse", json.loads(encoder.whole(EVENTS, 1)))
        for chunk in chunks(encoder.stream(EVENTS))[:-1]:
            self.check(components, "CreateChatCompletionStreamResponse", chunk)

    def test_each_chunk(self, components: dict[str, Any]) -> None:
        for chunk in chunks(ChatEncoder("id", "m", True).stream(EVENTS))[:-1]:
            self.check(components, "CreateChatCompletionStreamResponse", chunk)

    def test_a_whole_completion(self, components: dict[str, Any]) -> None:
        events = [EVENTS[0], EVENTS[2], Finished(id="r", endings=(Ending(reason="length"),))]
        self.check(components, "CreateCompletionResponse", json.loads(CompletionEncoder("id", "m").whole(events, 1)))
