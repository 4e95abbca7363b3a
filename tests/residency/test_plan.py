"""The pool's decisions: plain calls, no clocks."""

from typing import Any

import pytest

from lmx_daemon.contract.requests import Chat, Message, Prompt, Text, TextPart, Tokens, Tool, ToolCall
from lmx_daemon.residency.plan import CHARACTERS, Beat, expires_at, hopeless_prompt, stalled_for, start_after


class TestHanging:
    def test_busy_and_moving(self) -> None:
        assert stalled_for(Beat(heard_at=99.5, progressed_at=99.0, busy=True), 100.0) == 1.0

    def test_busy_without_a_step(self) -> None:
        assert stalled_for(Beat(heard_at=99.5, progressed_at=80.0, busy=True), 100.0) == 20.0

    def test_idle_for_long_is_no_hang(self) -> None:
        assert stalled_for(Beat(heard_at=99.5, progressed_at=0.0, busy=False), 100.0) == 0.5

    def test_silent_is_a_hang_even_when_idle(self) -> None:
        assert stalled_for(Beat(heard_at=80.0, progressed_at=80.0, busy=False), 100.0) == 20.0

    def test_while_the_daemon_stood_still_it_heard_nobody(self) -> None:
        beat = Beat(heard_at=20.0, progressed_at=10.0, busy=True)
        assert stalled_for(beat, 100.0, since=99.0) == 1.0
        assert stalled_for(beat, 100.0, since=15.0) == 85.0


class TestStartingAgain:
    def test_the_first_two_starts_wait_for_nothing(self) -> None:
        assert start_after([], 100.0, 3, 300.0).wait == 0
        assert start_after([99.9], 100.0, 3, 300.0).wait == 0

    def test_backs_off(self) -> None:
        assert start_after([90.0, 99.5], 100.0, 5, 300.0).wait == 0.5
        assert start_after([80.0, 90.0, 99.5], 100.0, 5, 300.0).wait == 1.5

    def test_refuses_at_the_limit_until_the_window_has_passed(self) -> None:
        refused = start_after([10.0, 50.0, 99.0], 100.0, 3, 300.0)
        assert refused.refused_for == 210.0

    def test_old_crashes_are_forgotten(self) -> None:
        assert start_after([1.0, 2.0, 3.0], 1000.0, 3, 300.0).refused_for is None


def chat(*texts: str) -> Chat:
    return Chat(messages=tuple(Message(role="user", content=(TextPart(text=text),)) for text in texts))


CALL = ToolCall(id="c", name="f", arguments="x" * 2000)


class TestHopelessPrompts:
    @pytest.mark.parametrize("prompt", [Text(text=" " * 10 * CHARACTERS), chat(" " * 9 * CHARACTERS, "x" * CHARACTERS)])
    def test_what_might_fit_is_for_the_tokenizer_to_say(self, prompt: Prompt) -> None:
        assert hopeless_prompt(prompt, 10) is None
        assert hopeless_prompt(Tokens(ids=(1,) * 100_000), 10) is None  # counted already

    def test_what_cannot_fit_is_refused_by_its_field(self) -> None:
        for prompt, field in ((Text(text="x" * 2000), "prompt"), (chat("x" * 1000, "y" * 1000), "messages")):
            refused = hopeless_prompt(prompt, 10)
            assert refused is not None and refused.param == field and "2000 characters" in refused.message
            assert refused.message.startswith("prompt is too long: 16 tokens > 10 maximum; exceeds the context window")

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"messages": (Message(role="assistant", reasoning="x" * 2000),)}, "messages"),
            ({"messages": (Message(role="assistant", tool_calls=(CALL,)),)}, "messages"),
            ({"tools": (Tool(name="f", description="x" * 2000),)}, "tools"),
            ({"tools": (Tool(name="f", parameters={"properties": {"x" * 1000: {"enum": ["y"] * 300}}}),)}, "tools"),
            ({"template_arguments": {"reasoning_effort": "x" * 2000}}, "messages"),
        ],
    )
    def test_all_that_is_rendered_counts(self, fields: dict[str, Any], field: str) -> None:
        prompt = Chat(**{"messages": chat("Hello").messages} | fields)
        refused = hopeless_prompt(prompt, 10)
        assert refused is not None and refused.param == field and hopeless_prompt(prompt, 20) is None


class TestExpiry:
    def test_after_its_time_without_use(self) -> None:
        assert expires_at(100.0, 60.0, in_use=False) == 160.0

    def test_never_in_use_and_never_without_a_limit(self) -> None:
        assert expires_at(100.0, 60.0, in_use=True) is None
        assert expires_at(100.0, None, in_use=False) is None
        assert expires_at(100.0, -1, in_use=False) is None
