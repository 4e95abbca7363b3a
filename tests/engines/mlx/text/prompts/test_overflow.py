"""Prompts above the context are shortened by the policy of their request, and the tokens left out are counted."""

from typing import Any

import pytest

from lmx_daemon.contract.errors import ContextLengthError
from lmx_daemon.contract.generation.requests import Chat, Message, Overflow, Text, TextPart, Tokens, ToolCall
from lmx_daemon.engines.mlx.text.prompts.overflow import LONGEST, first_kept
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt, PromptBuilder
from tests.engines.mlx.text.prompts.renderers import Letters, Renderer

CONTEXT = 200
TEMPLATE = "{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"
BUILDER = PromptBuilder(Letters(TEMPLATE), CONTEXT, 2**21, Renderer())  # type: ignore[arg-type]


def message(role: Any, text: str, **more: Any) -> Message:
    return Message(role=role, content=(TextPart(text=text),) if text else (), **more)


def text_of(prepared: PreparedPrompt) -> str:
    return "".join(chr(token) for token in prepared.tokens)


def conversation(turns: int) -> tuple[Message, ...]:
    """Return a system message and `turns` questions with answers, all but the last of which is answered."""
    spoken = [message(role, f"{number:03}{role[0] * 12}") for number in range(turns) for role in ("user", "assistant")]
    return (message("system", "Be short."), *spoken[:-1])


@pytest.mark.parametrize("policy", ["error", "rolling", "truncate_middle"])
def test_prompt_that_fits_is_never_shortened(policy: Overflow) -> None:
    chat = Chat(messages=conversation(3))
    prepared = BUILDER.build(chat, policy)
    assert prepared.truncated == 0 and prepared.tokens == BUILDER.build(chat).tokens


def test_rolling_drops_the_oldest_messages_and_keeps_the_system_and_the_last_one() -> None:
    chat = Chat(messages=conversation(20))
    with pytest.raises(ContextLengthError):
        BUILDER.build(chat)
    prepared = BUILDER.build(chat, "rolling", 30)
    text = text_of(prepared)
    assert text.startswith("[system|Be short.][") and text.endswith("[user|019uuuuuuuuuuuu]>")
    assert len(text) <= CONTEXT - 30
    kept = text.removeprefix("[system|Be short.]")
    whole = "".join(f"[{each.role}|{each.text}]" for each in chat.messages) + ">"
    assert whole.endswith(kept) and prepared.truncated == len(whole) - len(text)


def test_rolling_begins_at_the_same_message_while_a_conversation_grows() -> None:
    begins = [text_of(BUILDER.build(Chat(messages=conversation(turns)), "rolling", 1))[18:40] for turns in range(8, 30)]
    assert len(set(begins)) <= len(begins) // 2


def test_rolling_never_begins_with_the_result_of_a_dropped_call() -> None:
    call = ToolCall(id="call_1", name="f", arguments='{"a": "' + "x" * 60 + '"}')
    asked = [message("user", "q" * 50), message("assistant", "", tool_calls=(call,))]
    results = [message("tool", "r" * 40, tool_call_id="call_1", name="f"), message("user", "And now? " + "y" * 60)]
    seen: list[int] = []
    first_kept([*asked, *results], 10, lambda start: bool(seen.append(start)))
    assert seen and 2 not in seen


def test_middle_of_any_prompt_is_left_out() -> None:
    ids = tuple(range(500))
    prepared = BUILDER.build(Tokens(ids=ids), "truncate_middle", 20)
    assert prepared.tokens == [*ids[:90], *ids[-90:]] and prepared.truncated == 320 and prepared.raw
    text = text_of(BUILDER.build(Chat(messages=conversation(20)), "truncate_middle", 20))
    assert (
        text.startswith("[system|Be short.][user|000") and text.endswith("[user|019uuuuuuuuuuuu]>") and len(text) == 180
    )


def test_rolling_keeps_the_end_of_a_raw_prompt() -> None:
    prepared = BUILDER.build(Text(text="a" * 300 + "b" * 100), "rolling", 10)
    assert text_of(prepared) == "a" * 90 + "b" * 100 and prepared.truncated == 210


def test_answer_gets_at_most_a_quarter_of_the_context() -> None:
    for max_tokens in (50, 199, 10_000, None):
        assert len(BUILDER.build(Text(text="a" * 300), "truncate_middle", max_tokens).tokens) == 150


def test_message_that_does_not_fit_alone_is_refused() -> None:
    chat = Chat(messages=(*conversation(3), message("user", "z" * 300)))
    with pytest.raises(ContextLengthError, match=r"446 tokens > 200 .*the last message and the system messages"):
        BUILDER.build(chat, "rolling")


def test_prompt_of_many_contexts_is_refused() -> None:
    with pytest.raises(ContextLengthError, match="times the context is not shortened"):
        BUILDER.build(Text(text="a" * (CONTEXT * LONGEST + 1)), "truncate_middle")


def test_a_prompt_above_the_context_is_counted() -> None:
    chat = Chat(messages=conversation(20))
    expected = len(BUILDER.build(Chat(messages=conversation(3))).tokens)
    assert BUILDER.count(Chat(messages=conversation(3))) == expected
    assert BUILDER.count(chat) > CONTEXT
    assert BUILDER.count(Text(text="a" * (CONTEXT * LONGEST * 2))) == CONTEXT * LONGEST * 2


def test_a_smaller_context_that_a_request_asks_for_is_its_context() -> None:
    text = Text(text="a" * 120)
    assert len(BUILDER.build(text, asked=121).tokens) == len(BUILDER.build(text, asked=10**9).tokens) == 120
    with pytest.raises(ContextLengthError, match="120 tokens > 100 maximum"):
        BUILDER.build(text, asked=100)
    assert BUILDER.build(text, "truncate_middle", 10, 100).truncated == 30
