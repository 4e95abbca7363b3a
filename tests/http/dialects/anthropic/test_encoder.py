"""Events to Anthropic's messages and streams."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Finished,
    FinishReason,
    Loading,
    Prefill,
    Queued,
    Started,
    ToolCallDelta,
    Usage,
)
from lmx_daemon.http.dialects.anthropic.answers import MessageObject, StreamEvent
from lmx_daemon.http.dialects.anthropic.encoders import SIGNATURE, MessageEncoder, input_of

STARTED = Started(id="r", prompt_tokens=10, cached_tokens=4, seed=1)
USAGE = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=7, reasoning_tokens=2)


def finished(reason: FinishReason = "stop", matched: str | None = None) -> Finished:
    return Finished(id="r", endings=(Ending(reason=reason, matched_stop=matched),), usage=USAGE)


def encoder(max_tokens: int = 7, stops: Sequence[str] = ()) -> MessageEncoder:
    return MessageEncoder("r", "m", max_tokens, stops)


def streamed(events: Sequence[Event], **given: Any) -> list[dict[str, Any]]:
    """Return the events of a stream. Each is checked against its type."""
    found, coder = [], encoder(**given)
    for part in b"".join(coder.stream([event]) for event in events).split(b"\n\n")[:-1]:
        name, data = part.split(b"\n")
        value = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + value["type"].encode()
        msgspec.convert(value, StreamEvent)
        found.append(value)
    return found


def whole(events: Sequence[Event], **given: Any) -> dict[str, Any]:
    found = json.loads(encoder(**given).whole(events, 1))
    msgspec.convert(found, MessageObject)
    return dict(found)


def assembled(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the message that a client makes of a stream. Raise AssertionError for an event that is out of order."""
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
    message = dict(events[0]["message"])
    inputs: dict[int, str] = {}
    opened: int | None = None
    for event in events[1:]:
        match event["type"]:
            case "content_block_start":
                assert opened is None and event["index"] == len(message["content"])
                opened = event["index"]
                message["content"].append(dict(event["content_block"]))
                inputs[event["index"]] = ""
            case "content_block_delta":
                assert event["index"] == opened
                block, delta = message["content"][event["index"]], event["delta"]
                match delta["type"]:
                    case "input_json_delta":
                        inputs[event["index"]] += delta["partial_json"]
                        block["input"] = inputs[event["index"]]
                    case kind:
                        name = kind.removesuffix("_delta")
                        block[name] += delta[name]
            case "content_block_stop":
                assert event["index"] == opened
                opened = None
            case "message_delta":
                assert opened is None
                message |= event["delta"] | {"usage": event["usage"]}
            case kind:
                assert kind == "message_stop" and event is events[-1]
    for block in message["content"]:
        if block["type"] == "tool_use":
            block["input"] = input_of(block["input"] or "")
    return message


def call(index: int, arguments: str, name: str | None = None) -> Delta:
    identity = f"call_{index}" if name else None
    return Delta(id="r", tool_call=ToolCallDelta(index=index, id=identity, name=name, arguments=arguments))


WORKS = [
    STARTED,
    Delta(id="r", reasoning="Hm"),
    Delta(id="r", reasoning=", so."),
    Delta(id="r", content="I "),
    Delta(id="r", content="look."),
    call(0, "", "weather"),
    call(0, '{"city": '),
    call(0, '"Oslo"}'),
    call(1, '{"n": 1}', "add"),
    finished("tool_calls"),
]


class TestStream:
    def test_events_have_anthropics_order(self) -> None:
        events = streamed(WORKS)
        kinds = [(event["type"], event.get("index")) for event in events]
        block = ["content_block_start", "content_block_delta", "content_block_stop"]
        assert kinds == [
            ("message_start", None),
            *((block[kind], 0) for kind in (0, 1, 1, 1, 2)),  # the third delta is the signature
            *((block[kind], 1) for kind in (0, 1, 1, 2)),
            *((block[kind], 2) for kind in (0, 1, 1, 1, 2)),
            *((block[kind], 3) for kind in (0, 1, 2)),
            ("message_delta", None),
            ("message_stop", None),
        ]
        assert events[4]["delta"] == {"type": "signature_delta", "signature": SIGNATURE}
        assert events[10]["content_block"] == {"type": "tool_use", "id": "call_0", "name": "weather", "input": {}}

    def test_start_counts_the_prompt_and_what_was_cached(self) -> None:
        message = streamed(WORKS)[0]["message"]
        assert (message["id"], message["model"], message["content"], message["stop_reason"]) == ("msg_r", "m", [], None)
        assert message["usage"] == {
            "input_tokens": 6,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 0,
            "output_tokens_details": {"thinking_tokens": 0},
        }
        assert streamed(WORKS)[-2]["usage"] == message["usage"] | {
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 2},
        }

    def test_one_event_with_everything_is_thinking_then_text_then_call(self) -> None:
        everything = Delta(
            id="r", content="b", reasoning="a", tool_call=ToolCallDelta(index=0, id="c", name="f", arguments="{}")
        )
        message = assembled(streamed([STARTED, everything, finished("tool_calls")]))
        assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]

    def test_text_after_a_call_is_a_new_block(self) -> None:
        events = [STARTED, Delta(id="r", content="a"), call(0, "{}", "f"), Delta(id="r", content="b"), finished()]
        message = assembled(streamed(events))
        assert [block.get("text") for block in message["content"]] == ["a", None, "b"]

    def test_answer_without_content_has_no_blocks(self) -> None:
        assert [event["type"] for event in streamed([STARTED, finished()])] == [
            "message_start",
            "message_delta",
            "message_stop",
        ]

    def test_waiting_adds_nothing_and_a_second_start_is_ignored(self) -> None:
        waiting = [Loading(id="r", model="m"), Queued(id="r", position=1), Prefill(id="r", done=1, total=2)]
        assert streamed([*waiting, STARTED, *waiting, STARTED, *WORKS[1:]]) == streamed(WORKS)

    def test_failure_is_an_error_event_with_the_requests_id(self) -> None:
        coder = encoder()
        coder.stream(WORKS[:3])
        name, data = coder.failed(WorkerError("it crashed", hint="try again")).strip().split(b"\n")
        value = json.loads(data.removeprefix(b"data: "))
        msgspec.convert(value, StreamEvent)
        assert name == b"event: error" and value == {
            "type": "error",
            "error": {
                "type": "api_error",
                "message": "it crashed",
                "details": {"error_code": "worker_failed"},
                "hint": "try again",
            },
            "request_id": "r",
        }


class TestEnd:
    @pytest.mark.parametrize(
        ("end", "given", "expected"),
        [
            (finished(), {}, ("end_turn", None)),
            (finished("cancelled"), {}, ("end_turn", None)),
            (finished("stop", "END"), {"stops": ["END"]}, ("stop_sequence", "END")),
            (finished("stop", "</s>"), {"stops": ["END"]}, ("end_turn", None)),
            (finished("tool_calls"), {}, ("tool_use", None)),
            (finished("length"), {"max_tokens": 7}, ("max_tokens", None)),
            (finished("length"), {"max_tokens": 32_000}, ("model_context_window_exceeded", None)),
        ],
    )
    def test_reason(self, end: Finished, given: dict[str, Any], expected: tuple[str, str | None]) -> None:
        for message in (whole([STARTED, end], **given), assembled(streamed([STARTED, end], **given))):
            assert (message["stop_reason"], message["stop_sequence"]) == expected


class TestWhole:
    def test_message_has_the_blocks_in_order(self) -> None:
        assert whole(WORKS)["content"] == [
            {"type": "thinking", "thinking": "Hm, so.", "signature": SIGNATURE},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "call_1", "name": "add", "input": {"n": 1}},
        ]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ("", {}),
            (" ", {}),
            ("{}", {}),
            ('{"a": 1}', {"a": 1}),
            ("[1]", {"arguments": [1]}),
            ('{"a": ', {"arguments": '{"a": '}),
        ],
    )
    def test_input_of_a_call_is_an_object(self, arguments: str, expected: dict[str, Any]) -> None:
        assert whole([STARTED, call(0, arguments, "f"), finished()])["content"][0]["input"] == expected


TEXTS = st.text('ab \n"\\\u0000\u2028é😀', min_size=1, max_size=5)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Draw the events of one answer: any order of content, reasoning and calls, cut anywhere."""
    found: list[Event] = [STARTED]
    calls = 0
    for kind in draw(st.lists(st.sampled_from(["content", "reasoning", "call"]), max_size=8)):
        if kind != "call":
            found.append(Delta(id="r", **{kind: draw(TEXTS)}))
            continue
        arguments = json.dumps(draw(st.dictionaries(TEXTS, TEXTS, max_size=2)), ensure_ascii=draw(st.booleans()))
        cut = draw(st.integers(0, len(arguments)))
        found += [call(calls, arguments[:cut], "f"), call(calls, arguments[cut:])]
        calls += 1
    return [*found, finished(draw(st.sampled_from(["stop", "length", "tool_calls"])))]


@given(answers())
def test_stream_adds_up_to_the_whole_answer(events: list[Event]) -> None:
    assert assembled(streamed(events)) == whole(events)


@given(answers(), st.integers(0, 20))
def test_bytes_do_not_depend_on_how_events_are_grouped(events: list[Event], cut: int) -> None:
    one, two = encoder(), encoder()
    assert one.stream(events[:cut]) + one.stream(events[cut:]) == two.stream(events)
