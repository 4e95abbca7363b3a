"""Conversations: requests built from turns, answers built from events, and the model that answers."""

import pytest

from lmx_daemon.client.conversation import Conversation, absence, default_model
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Delta, Started
from lmx_daemon.contract.generation.requests import Chat
from tests.screen_states import QWEN, answer_of, busy_snapshot, finished, quiet_snapshot


def test_events_change_the_state_of_an_answer() -> None:
    answer = ChatAnswer("r", QWEN, asked_at=10.0)
    answer.consume(Started(id="r", prompt_tokens=100, cached_tokens=0, seed=1, context_length=1000), 10.1)
    assert answer.state == "prefill" and answer.context_used == 100
    answer.consume(Delta(id="r", reasoning="hm", tokens=1), 10.5)
    assert answer.state == "thinking" and answer.first_token == pytest.approx(0.5)
    assert answer.rate is None, "one token has no speed"
    answer.consume(Delta(id="r", content="yes", tokens=10), 11.5)
    assert answer.state == "generating" and answer.rate == pytest.approx(10.0)
    answer.consume(finished(tokens=12, prompt=100), 11.6)
    assert answer.ended and answer.tokens == 12


def test_reasoning_is_not_sent_back() -> None:
    conversation = Conversation(tenant="tui", client="lmx tui")
    conversation.ask("one", QWEN, 0.0)
    answer = conversation.answer
    assert answer is not None
    for event in answer_of("visible", reasoning="hidden"):
        answer.consume(event, 1.0)
    request = conversation.ask("two", QWEN, 2.0)
    assert "hidden" not in str(request) and "visible" in str(request)


def test_prompt_stopped_before_any_content_is_not_sent_again() -> None:
    conversation = Conversation(tenant="tui", client="lmx tui")
    conversation.ask("one", QWEN, 0.0)
    assert conversation.answer is not None
    conversation.answer.consume(Delta(id="r", reasoning="hm", tokens=1), 0.5)
    conversation.answer.consume(finished(reason="cancelled", tokens=1), 1.0)
    prompt = conversation.ask("two", QWEN, 2.0).prompt
    assert isinstance(prompt, Chat) and [message.text for message in prompt.messages] == ["two"]


def test_default_model_is_the_loaded_one_used_last() -> None:
    quiet, busy = quiet_snapshot(), busy_snapshot()
    assert default_model((), ()) is None
    assert default_model(quiet.models, quiet.instances) == "lmx/guide"
    assert default_model(busy.models, busy.instances) == QWEN, "the one used last"


def test_absence_of_a_model_is_unloaded_or_missing() -> None:
    snapshot = busy_snapshot()
    assert absence(QWEN, snapshot.models, snapshot.instances) is None
    assert absence(QWEN, snapshot.models, ()) == "unloaded"
    assert absence(QWEN, (), snapshot.instances) == "missing"
