"""Tests of the values that a preset gives to a request."""

from typing import Any

import msgspec

from lmx_daemon.contract.generation.preset import Preset
from lmx_daemon.contract.generation.requests import (
    Chat,
    Count,
    Generate,
    Message,
    Sampling,
    Text,
    TextPart,
    Tool,
    ToolChoice,
)
from lmx_daemon.router.apply_preset import with_preset

PRESET = msgspec.convert(
    {
        "system": "Be brief.",
        "sampling": {"temperature": 0.2, "top_k": 5, "presence_penalty": 0.5},
        "max_tokens": 100,
        "stop": ["END"],
        "tools": {"choice": "required", "parallel": False},
        "thinking": True,
        "thinking_budget": 64,
        "template": {"reasoning_effort": "low"},
        "overflow": "rolling",
    },
    Preset,
)
QUESTION = Message(role="user", content=(TextPart(text="x"),))
OWN = Message(role="system", content=(TextPart(text="Own."),))
TOOL = Tool(name="look")


def chat(**fields: Any) -> Chat:
    return Chat(messages=(QUESTION,), tools=(TOOL,), **fields)


def generate(prompt: Any = None, **fields: Any) -> Generate:
    return Generate(id="r", model="m", prompt=prompt or chat(), **fields)


def test_values_fill_what_the_request_leaves_open() -> None:
    found = with_preset(generate(), PRESET)
    assert isinstance(found.prompt, Chat)
    assert [message.text for message in found.prompt.messages] == ["Be brief.", "x"]
    assert found.prompt.tool_choice == ToolChoice(mode="required") and not found.prompt.parallel_tool_calls
    assert found.prompt.thinking is True and found.prompt.template_arguments == {"reasoning_effort": "low"}
    assert found.sampling == Sampling(temperature=0.2, top_k=5, presence_penalty=0.5)
    assert (found.max_tokens, found.stop, found.thinking_budget, found.overflow) == (100, ("END",), 64, "rolling")


def test_what_the_request_states_wins() -> None:
    prompt = Chat(
        messages=(OWN, QUESTION),
        tools=(TOOL,),
        tool_choice=ToolChoice(mode="none"),
        thinking=False,
        template_arguments={"reasoning_effort": "high"},
    )
    sampling = Sampling(temperature=1.0, top_k=0, presence_penalty=0.0)
    asked = generate(prompt, sampling=sampling, max_tokens=7, stop=("a",), thinking_budget=0, overflow="error")
    found = with_preset(asked, PRESET)
    assert found == msgspec.structs.replace(asked, prompt=msgspec.structs.replace(prompt, parallel_tool_calls=False))


def test_rule_on_tools_does_not_apply_to_a_request_without_tools() -> None:
    found = with_preset(generate(Chat(messages=(QUESTION,))), PRESET)
    assert isinstance(found.prompt, Chat) and found.prompt.tool_choice == ToolChoice()


def test_raw_prompt_gets_no_system_prompt() -> None:
    found = with_preset(generate(Text(text="x")), PRESET)
    assert found.prompt == Text(text="x") and found.sampling.temperature == 0.2


def test_count_includes_the_system_prompt() -> None:
    found = with_preset(Count(id="r", model="m", prompt=chat()), PRESET)
    assert isinstance(found.prompt, Chat) and found.prompt.messages[0].text == "Be brief."


def test_second_application_changes_nothing() -> None:
    once = with_preset(generate(), PRESET)
    assert with_preset(once, PRESET) == once
