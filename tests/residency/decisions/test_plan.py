"""Tests of the decisions about one model: plain calls without clocks."""

from typing import Any

import pytest

from lmx_daemon.contract.generation.requests import Chat, Message, Prompt, Text, TextPart, Tokens, Tool, ToolCall
from lmx_daemon.residency.decisions.plan import (
    CHARACTERS,
    RETRY_SECONDS,
    Beat,
    LoadState,
    Purpose,
    exceeded,
    expires_at,
    hopeless_prompt,
    is_withdrawn,
    may_evict,
    reduced,
    stalled_for,
    start_after,
)


class TestHanging:
    def test_a_step_is_progress(self) -> None:
        assert stalled_for(Beat(heard_at=99.5, progressed_at=99.0, busy=True), 100.0) == 1.0

    def test_work_without_a_step_is_no_progress(self) -> None:
        assert stalled_for(Beat(heard_at=99.5, progressed_at=80.0, busy=True), 100.0) == 20.0

    def test_a_long_idle_time_is_no_hang(self) -> None:
        assert stalled_for(Beat(heard_at=99.5, progressed_at=0.0, busy=False), 100.0) == 0.5

    def test_silence_of_an_idle_worker_is_a_hang(self) -> None:
        assert stalled_for(Beat(heard_at=80.0, progressed_at=80.0, busy=False), 100.0) == 20.0

    def test_silence_counts_from_the_time_at_which_the_daemon_continued(self) -> None:
        beat = Beat(heard_at=20.0, progressed_at=10.0, busy=True)
        assert stalled_for(beat, 100.0, since=99.0) == 1.0
        assert stalled_for(beat, 100.0, since=15.0) == 85.0


class TestStartingAgain:
    def test_the_first_two_starts_are_not_delayed(self) -> None:
        assert start_after([], 100.0, 3, 300.0).wait == 0
        assert start_after([99.9], 100.0, 3, 300.0).wait == 0

    def test_each_further_start_is_delayed_longer(self) -> None:
        assert start_after([90.0, 99.5], 100.0, 5, 300.0).wait == 0.5
        assert start_after([80.0, 90.0, 99.5], 100.0, 5, 300.0).wait == 1.5

    def test_starts_are_refused_at_the_limit_until_the_window_has_passed(self) -> None:
        refused = start_after([10.0, 50.0, 99.0], 100.0, 3, 300.0)
        assert refused.refused_for == 210.0

    def test_old_crashes_are_forgotten(self) -> None:
        assert start_after([1.0, 2.0, 3.0], 1000.0, 3, 300.0).refused_for is None


def chat(*texts: str) -> Chat:
    return Chat(messages=tuple(Message(role="user", content=(TextPart(text=text),)) for text in texts))


CALL = ToolCall(id="c", name="f", arguments="x" * 2000)


class TestHopelessPrompts:
    @pytest.mark.parametrize("prompt", [Text(text=" " * 10 * CHARACTERS), chat(" " * 9 * CHARACTERS, "x" * CHARACTERS)])
    def test_a_prompt_that_might_fit_is_left_to_the_tokenizer(self, prompt: Prompt) -> None:
        assert hopeless_prompt(prompt, 10) is None
        assert hopeless_prompt(Tokens(ids=(1,) * 100_000), 10) is None  # counted already

    def test_a_prompt_that_cannot_fit_is_refused_with_its_field(self) -> None:
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
    def test_all_text_that_the_template_renders_counts(self, fields: dict[str, Any], field: str) -> None:
        prompt = Chat(**{"messages": chat("Hello").messages} | fields)
        refused = hopeless_prompt(prompt, 10)
        assert refused is not None and refused.param == field and hopeless_prompt(prompt, 20) is None


class TestExpiry:
    def test_a_model_expires_after_its_time_without_use(self) -> None:
        assert expires_at(100.0, 60.0, in_use=False) == 160.0

    def test_a_model_in_use_or_without_a_limit_does_not_expire(self) -> None:
        assert expires_at(100.0, 60.0, in_use=True) is None
        assert expires_at(100.0, None, in_use=False) is None
        assert expires_at(100.0, -1, in_use=False) is None


def limits(beat: Beat, *, loading: bool, greeted: bool = True) -> float | None:
    return exceeded(beat, 1000.0, 0.0, loading=loading, greeted=greeted, hang=60.0, load=300.0)


class TestLimitsOfProgress:
    def test_a_step_of_a_load_may_take_longer_than_one_of_a_loaded_model(self) -> None:
        beat = Beat(heard_at=999.0, progressed_at=900.0, busy=True)
        assert limits(beat, loading=True) is None
        assert limits(beat, loading=False) == 60.0

    def test_a_load_without_progress_exceeds_its_limit(self) -> None:
        assert limits(Beat(heard_at=999.0, progressed_at=600.0, busy=True), loading=True) == 300.0

    def test_a_silent_process_exceeds_its_limit_also_during_a_load(self) -> None:
        assert limits(Beat(heard_at=900.0, progressed_at=900.0, busy=True), loading=True) == 60.0

    def test_imports_send_no_heartbeats(self) -> None:
        assert limits(Beat(heard_at=900.0, progressed_at=900.0, busy=False), loading=True, greeted=False) is None
        assert limits(Beat(heard_at=600.0, progressed_at=600.0, busy=False), loading=True, greeted=False) == 300.0


def test_the_load_after_a_lack_of_memory_is_smaller() -> None:
    assert [reduced(512, 64, times) for times in range(5)] == [512, 256, 128, 64, 64]
    assert reduced(32, 64, 3) == 32


def load(purpose: Purpose = "requests", waiting: int = 0, **fields: object) -> LoadState:
    state = {"begun": True, "evicts": False, "progress": 0.0, "unneeded_for": RETRY_SECONDS} | fields
    return LoadState(purpose, waiting, **state)  # type: ignore[arg-type]


class TestWithdrawal:
    def test_nothing_is_withdrawn_while_a_request_waits(self) -> None:
        assert not is_withdrawn(load(waiting=1, begun=False))

    @pytest.mark.parametrize("purpose", ["load", "restore"])
    def test_an_explicit_load_and_a_restored_one_need_no_request(self, purpose: Purpose) -> None:
        assert not is_withdrawn(load(purpose, begun=False))

    def test_a_load_is_withdrawn_at_once_before_it_begins(self) -> None:
        assert is_withdrawn(load(begun=False, unneeded_for=0.0))

    def test_a_running_load_waits_for_the_next_attempt_of_the_client(self) -> None:
        assert not is_withdrawn(load(unneeded_for=RETRY_SECONDS - 1))
        assert is_withdrawn(load())

    def test_a_load_that_is_far_along_is_completed_if_nothing_was_evicted(self) -> None:
        assert not is_withdrawn(load(progress=0.6))
        assert is_withdrawn(load(progress=0.6, evicts=True))

    def test_evictions_need_an_explicit_load_or_a_request(self) -> None:
        assert may_evict("load", 0) and may_evict("requests", 1) and may_evict("restore", 1)
        assert not may_evict("requests", 0) and not may_evict("restore", 0)
