"""Chat templates are rendered as transformers renders them, for every family, with the switches that each reads."""

from typing import Any

import pytest
from mlx_lm.chat_templates import deepseek_v32
from transformers.utils.chat_template_utils import render_jinja_template

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Chat, Message, TextPart, Tool, ToolCall
from lmx_daemon.engines.mlx.text.prompts.prompt import PromptBuilder
from lmx_daemon.engines.mlx.text.prompts.templates.template_messages import as_template_message
from lmx_daemon.engines.mlx.text.prompts.thinking import thinking_variables
from tests.engines.mlx.text.prompts.renderers import (
    PARAMETERS,
    Letters,
    Renderer,
    Templates,
    each_source,
    recorded_templates,
    written_templates,
)

TOOL = Tool(name="look_up", description="Look <it> up & 'tell'", parameters=PARAMETERS)
CALL = ToolCall(id="call12345", name="look_up", arguments='{"b": "ü", "a": 1}')


def message(role: Any, text: str, **more: Any) -> Message:
    return Message(role=role, content=(TextPart(text=text),) if text else (), **more)


CONVERSATIONS: dict[str, list[Message]] = {
    "one": [message("user", "Hello & <welcome> 'you' \"all\" ünï")],
    "system": [message("system", "Be\n short. "), message("user", " Hi\n")],
    "turns": [message("user", "a"), message("assistant", "b ", reasoning="because"), message("user", "c")],
    "call": [
        message("user", "What?"),
        message("assistant", "", tool_calls=(CALL,), reasoning="It is unknown."),
        message("tool", '{"answer": "ü"}', tool_call_id="call12345", name="look_up"),
    ],
    "after a call": [
        message("system", "s"),
        message("user", "What?"),
        message("assistant", "", tool_calls=(CALL,)),
        message("tool", "42", tool_call_id="call12345", name="look_up"),
        message("assistant", "It is 42."),
        message("user", "Thanks"),
    ],
}


RENDERER = Renderer()


def built(template: str, chat: Chat) -> str:
    builder = PromptBuilder(Letters(template), 1_000_000, 2**21, RENDERER)  # type: ignore[arg-type]
    return "".join(chr(token) for token in builder.build(chat).tokens)


def by_transformers(template: str, variables: dict[str, Any]) -> str:
    """Return what transformers renders from the same variables."""
    given = dict(variables)
    (text,), _ = render_jinja_template(
        conversations=[given.pop("messages")], tools=given.pop("tools"), chat_template=template, **given
    )
    return str(text)


@each_source
@pytest.mark.parametrize("thinking", [None, True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_family_renders_as_transformers_renders_it(
    name: str, thinking: bool | None, templates: Templates
) -> None:
    different = {}
    for family, template in templates().items():
        for tools in ((), (TOOL,)):
            chat = Chat(messages=tuple(CONVERSATIONS[name]), tools=tools, thinking=thinking)
            try:
                ours = built(template, chat)
            except RequestError:
                continue
            theirs = by_transformers(template, RENDERER.variables)
            if not ours.startswith(theirs):  # an empty thinking block may follow
                different[family, bool(tools)] = (ours, theirs)
    assert different == {}


def outcome(render: Any) -> str:
    try:
        return str(render())
    except RequestError as error:
        return str(error)


def switched(templates: dict[str, str]) -> set[str]:
    """Return the families whose prompt differs between thinking and no thinking."""
    found = set()
    for family, template in templates.items():
        chats = [Chat(messages=tuple(CONVERSATIONS["one"]), thinking=thinking) for thinking in (True, False)]
        on, off = (outcome(lambda t=template, chat=chat: built(t, chat)) for chat in chats)
        if on != off:
            found.add(family)
    return found


def test_thinking_switch_changes_the_prompt_of_exactly_the_families_that_read_one() -> None:
    assert switched(written_templates()) == {
        "command-r",
        "deepseek-r1",  # by an empty thinking block
        "deepseek-v3.1",
        "glm-4.5",
        "gpt-oss",
        "granite-3.3",
        "minimax-m2",  # by an empty thinking block
        "mistral-v11",  # by an empty thinking block
        "nemotron-nano-2",
        "qwen3",
        "seed-oss",
        "smollm3",
    }


def test_thinking_switch_changes_the_prompt_of_published_models_that_read_one() -> None:
    assert {
        "Apertus-8B-Instruct",
        "Bielik-11B-v3.0-Instruct",
        "ByteDance-Seed-OSS",
        "Cohere2MoE",
        "GLM-4.6",
        "GLM-5.2",
        "Qwen-Qwen3-0.6B",
        "deepseek-ai-DeepSeek-V3.1",
        "deepseek-ai-DeepSeek-V4",
        "google-gemma-4-31B-it-interleaved",
        "ibm-granite-granite-3.3-2B-Instruct",
    } <= switched(recorded_templates())


@pytest.mark.parametrize(
    "filtered",
    [
        "tojson",
        "tojson(separators=(',', ':'))",
        "tojson(sort_keys=true, indent=2)",
        "tojson(ensure_ascii=true)",
        "tojson(true)",
        "tojson(false, 4, (',', ':'), true)",
    ],
)
def test_tojson_takes_the_arguments_that_transformers_takes(filtered: str) -> None:
    template = "{{ tools | %s }}" % filtered  # noqa: UP031
    chat = Chat(messages=tuple(CONVERSATIONS["one"]), tools=(TOOL,))
    assert built(template, chat) == by_transformers(template, RENDERER.variables)


@pytest.mark.parametrize(
    ("template", "on", "off", "default"),
    [
        ("{% if thinking %}yes{% else %}no{% endif %}", "yes", "no", "no"),
        ("{% if enable_thinking is defined and not enable_thinking %}no{% else %}yes{% endif %}", "yes", "no", "yes"),
        ("{% set reasoning = reasoning | default(true) %}{{ 'yes' if reasoning else 'no' }}", "yes", "no", "yes"),
        ("{% if thinking_budget is defined %}{{ thinking_budget }}{% else %}yes{% endif %}", "yes", "0", "yes"),
    ],
)
def test_the_thinking_switch_has_the_name_that_the_template_reads(
    template: str, on: str, off: str, default: str
) -> None:
    def rendered(thinking: bool | None) -> str:
        return built(template, Chat(messages=tuple(CONVERSATIONS["one"]), thinking=thinking))

    assert (rendered(True), rendered(False), rendered(None)) == (on, off, default)


def test_rare_names_of_the_thinking_switch_are_set_only_where_the_template_reads_them() -> None:
    other = "reasoning {{ message.reasoning }} {{ 'reasoning' }} {# reasoning #} {{ m['thinking_budget'] }}"
    assert thinking_variables(other, False) == {"enable_thinking": False, "thinking": False}
    assert thinking_variables("{%- set x = reasoning -%}", True)["reasoning"] is True


def test_an_explicit_template_argument_wins_over_the_thinking_switch() -> None:
    chat = Chat(messages=tuple(CONVERSATIONS["one"]), thinking=False, template_arguments={"thinking_budget": 512})
    assert built("{{ thinking_budget }}", chat) == "512"


def test_reasoning_before_a_call_has_the_name_thinking_only_where_the_call_has_no_content() -> None:
    """gpt-oss refuses both in one message."""
    silent = as_template_message(message("assistant", "", tool_calls=(CALL,), reasoning="It is unknown."))
    spoken = as_template_message(message("assistant", "Let me see.", tool_calls=(CALL,), reasoning="It is unknown."))
    assert silent["thinking"] == silent["reasoning_content"] == spoken["reasoning_content"] == "It is unknown."
    assert "thinking" not in spoken


class ByCode(Letters):
    """A tokenizer whose template mlx-lm brings as Python code."""

    _chat_template = staticmethod(deepseek_v32.apply_chat_template)

    def apply_chat_template(self, messages: Any, tokenize: bool, **arguments: Any) -> str:
        return str(self._chat_template(messages, **arguments))


def test_a_template_that_is_code_receives_only_its_parameters() -> None:
    builder = PromptBuilder(ByCode(), 1_000_000, 2**21, RENDERER)  # type: ignore[arg-type]
    chat = Chat(
        messages=tuple(CONVERSATIONS["call"]),
        tools=(TOOL,),
        thinking=False,
        template_arguments={"reasoning_effort": "none"},
    )
    text = "".join(chr(token) for token in builder.build(chat).tokens)
    assert "DSML" in text and 'parameter name="b" string="true">ü<' in text and text.endswith("</think>")
