"""Every family's template renders every kind of conversation, whole and in order, or is refused for a stated reason."""

from typing import Any

import pytest

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import Chat, ImagePart, Message, TextPart, Tool, ToolCall
from lmx_daemon.engines.mlx.text.prompts.prompt import PromptBuilder
from tests.engines.mlx.text.prompts.renderers import Letters, Renderer, recorded_templates, written_templates

TOOL = Tool(
    name="look_up",
    description="Looks a word up.",
    parameters={
        "type": "object",
        "properties": {"word": {"type": "string", "description": "The word."}, "most": {"type": "integer"}},
        "required": ["word"],
    },
)


def said(role: Any, text: str = "", **more: Any) -> Message:
    return Message(role=role, content=(TextPart(text=text),) if text else (), **more)


def called(*words: str, text: str = "", **more: Any) -> Message:
    calls = (
        ToolCall(id=f"call_{word}", name="look_up", arguments=f'{{"word": "{word}", "most": 2}}') for word in words
    )
    return said("assistant", text, tool_calls=tuple(calls), **more)


def result(word: str) -> Message:
    return said("tool", f"Found {word}.", tool_call_id=f"call_{word}")


HI, HELLO, HOW = said("user", "Hi there."), said("assistant", "Hello you."), said("user", "How now?")
RULE, LATE = said("system", "Speak briefly."), said("system", "Now speak at length.")
CONVERSATIONS: dict[str, Chat] = {
    "plain": Chat(messages=(HI, HELLO, HOW)),
    "system": Chat(messages=(RULE, HI)),
    "two systems": Chat(messages=(RULE, LATE, HI)),
    "system within": Chat(messages=(RULE, HI, HELLO, LATE, HOW)),
    "system last": Chat(messages=(HI, HELLO, HOW, LATE)),
    "two users": Chat(messages=(HI, HOW)),
    "assistant first": Chat(messages=(HELLO, HOW)),
    "tools": Chat(messages=(HI,), tools=(TOOL,)),
    "call": Chat(messages=(HI, called("alpha"), result("alpha")), tools=(TOOL,)),
    "call answered": Chat(messages=(RULE, HI, called("alpha"), result("alpha"), HELLO, HOW), tools=(TOOL,)),
    "parallel calls": Chat(messages=(HI, called("alpha", "beta"), result("alpha"), result("beta")), tools=(TOOL,)),
    "calls in a row": Chat(
        messages=(HI, called("alpha"), result("alpha"), called("beta"), result("beta"), HELLO, HOW), tools=(TOOL,)
    ),
    "user after result": Chat(messages=(HI, called("alpha"), result("alpha"), HOW), tools=(TOOL,)),
    "system after result": Chat(messages=(HI, called("alpha"), result("alpha"), LATE), tools=(TOOL,)),
    "thinking on": Chat(messages=(HI,), thinking=True),
    "thinking off": Chat(messages=(HI,), thinking=False),
    "thought": Chat(messages=(HI, said("assistant", "Hello you.", reasoning="A greeting."), HOW)),
    "prefill": Chat(messages=(HI, said("assistant", "Hello, I ")), continue_last=True),
}
NO_FUNCTIONS = "it reads the tools from a variable of its own, which neither transformers nor lmx sets"
ASSIGNS = "it assigns to messages, which the sandbox of transformers forbids"
TURNS = (
    "plain", "system within", "system last", "assistant first", "call answered", "calls in a row", "thought", "prefill",
)  # fmt: skip
REFUSED: dict[str, dict[str, str]] = {
    "fireworks-ai-llama-3-firefunction-v2": dict.fromkeys(CONVERSATIONS, NO_FUNCTIONS),
    "MiroThinker": dict.fromkeys(
        (*TURNS, "call", "parallel calls", "user after result", "system after result"), ASSIGNS
    ),
}
"""Reasons by template and conversation."""
RENDERER = Renderer()


def all_templates() -> dict[str, str]:
    """Return the templates of the tests, and those of real repositories where they are at hand."""
    try:
        return written_templates() | recorded_templates()
    except pytest.skip.Exception:
        return written_templates()


def built(template: str, chat: Chat) -> str:
    builder = PromptBuilder(Letters(template), 1_000_000, 2**21, RENDERER)  # type: ignore[arg-type]
    return "".join(chr(token) for token in builder.build(chat).tokens)


def missing(text: str, chat: Chat) -> list[str]:
    """Return the texts that a prompt does not contain, or not in their order.

    A template chooses the place of the first system message; calls that are written one at a time change the order.
    """
    place, lost = 0, []
    ordered = not any(len(message.tool_calls) > 1 for message in chat.messages)
    for number, message in enumerate(chat.messages):
        words = [*([message.text.strip()] if message.text else []), *(call.id[5:] for call in message.tool_calls)]
        for word in words:
            found = text.find(word, place if ordered and not lost else 0)
            if found < 0:
                lost.append(word)
            elif number or message.role != "system":
                place = found + len(word)
    return lost + [tool.name for tool in chat.tools if tool.name not in text]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_renders_whole_or_is_refused_for_a_stated_reason(name: str) -> None:
    wrong = {}
    for family, template in all_templates().items():
        try:
            lost = missing(built(template, CONVERSATIONS[name]), CONVERSATIONS[name])
        except RequestError as error:
            lost = [str(error)]
        if bool(lost) != (name in REFUSED.get(family, {})):
            wrong[family] = lost or "it is rendered"
    assert wrong == {}


def test_a_continued_answer_ends_the_prompt() -> None:
    chat = CONVERSATIONS["prefill"]
    for family, template in all_templates().items():
        if "prefill" not in REFUSED.get(family, {}):
            assert built(template, chat).endswith("Hello, I "), family


def test_images_are_refused_by_their_message() -> None:
    image = Message(role="user", content=(ImagePart(data=b"", media_type="image/png"),))
    for template in all_templates().values():
        with pytest.raises(UnsupportedError) as refused:
            built(template, Chat(messages=(HI, HELLO, image)))
        assert refused.value.param == "messages[2].content"
