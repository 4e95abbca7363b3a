"""Translation of Ollama's bodies to requests."""

from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import JsonSchema
from lmx_daemon.contract.generation.requests import Chat, Generate, ImagePart, Infill, Message, Text, TextPart
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.ollama.bodies import OllamaChatBody, OllamaGenerateBody
from lmx_daemon.http.dialects.ollama.context import packed, unpacked
from lmx_daemon.http.dialects.ollama.dialect import Ollama
from lmx_daemon.http.dialects.ollama.requests import chat_request, generate_request
from tests.pictures import encoded, png

CONTEXT = RequestContext("r", Ollama(), Principal(tenant="http", scopes=frozenset({"infer"})))
USER = [{"role": "user", "content": "Hi"}]
PNG = encoded(png())


def chat(**fields: Any) -> Generate:
    return chat_request(msgspec.convert({"model": "m", "messages": USER} | fields, OllamaChatBody), CONTEXT)


def generate(**fields: Any) -> Generate:
    return generate_request(msgspec.convert({"model": "m", "prompt": "Hi"} | fields, OllamaGenerateBody), CONTEXT)


def test_tag_latest_is_left_out_of_the_name() -> None:
    assert chat(model="org/name:latest").model == "org/name" and chat(model="org/name").model == "org/name"


def test_options_become_sampling_settings_and_limits() -> None:
    options = {
        "temperature": 0.5,
        "top_k": 7,
        "seed": 3,
        "num_predict": 9,
        "stop": ["a", ""],
        "repeat_penalty": 1.1,
        "num_ctx": 5,
    }
    request = chat(options=options)
    assert (request.sampling.temperature, request.sampling.top_k, request.sampling.seed) == (0.5, 7, 3)
    assert request.sampling.repetition_penalty == 1.1
    assert request.max_tokens == 9 and request.stop == ("a",)


@pytest.mark.parametrize("given", [-1, -2])
def test_negative_num_predict_is_no_limit(given: int) -> None:
    assert chat(options={"num_predict": given}).max_tokens is None


def test_negative_seed_is_a_random_one() -> None:
    assert chat(options={"seed": -1}).sampling.seed is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"options": {"temperature": 9}}, "options.temperature"),
        ({"options": {"repeat_penalty": -1}}, "options.repeat_penalty"),
        ({"options": {"num_predict": 0}}, "options.num_predict"),
        ({"options": {"stop": ["x"] * 65}}, "options.stop"),
        ({"format": "yaml"}, "format"),
        ({"think": "hard"}, "think"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "", "images": ["?"]}]}, "messages[0].images[0]"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as error:
        chat(**fields)
    assert error.value.param == param


def test_format_is_a_constraint() -> None:
    assert chat(format="json").constraint == JsonSchema(schema={"type": "object"}, param="format")
    assert chat(format={"type": "array"}).constraint == JsonSchema(schema={"type": "array"}, param="format")
    assert chat(format="").constraint is None


def test_effort_of_thinking_reaches_the_template() -> None:
    prompt = chat(think="low").prompt
    assert isinstance(prompt, Chat) and prompt.thinking is True
    assert prompt.template_arguments == {"reasoning_effort": "low"}
    assert chat(think=False).prompt.thinking is False  # type: ignore[union-attr]


def test_a_message_has_images_calls_and_results() -> None:
    messages = [
        {"role": "user", "content": "Look", "images": [PNG]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "2", "tool_name": "f"},
    ]
    prompt = chat(messages=messages).prompt
    assert isinstance(prompt, Chat)
    user, assistant, tool = prompt.messages
    assert isinstance(user.content[0], ImagePart) and user.content[1] == TextPart(text="Look")
    assert assistant.tool_calls[0].arguments == '{"a":1}' and tool.name == "f"


def test_raw_prompt_has_no_template() -> None:
    assert generate(raw=True).prompt == Text(text="Hi")


def test_suffix_makes_a_request_for_the_text_between() -> None:
    assert generate(prompt="def f():", suffix="end").prompt == Infill(prefix="def f():", suffix="end")
    with pytest.raises(RequestError) as error:
        generate(prompt="x", suffix="end", context=[1])
    assert error.value.param == "suffix"


def test_context_continues_a_conversation_and_the_new_system_text_replaces_the_old_one() -> None:
    earlier = [
        Message(role="system", content=(TextPart(text="old"),)),
        Message(role="user", content=(TextPart(text="é"),)),
        Message(role="assistant", content=(TextPart(text="b"),)),
    ]
    assert unpacked(packed(earlier)) == earlier
    prompt = generate(context=packed(earlier), system="new").prompt
    assert isinstance(prompt, Chat)
    assert [(message.role, message.text) for message in prompt.messages] == [
        ("system", "new"), ("user", "é"), ("assistant", "b"), ("user", "Hi"),
    ]  # fmt: skip


@pytest.mark.parametrize("context", [[1, 2], [7_105_912, -1], [7_105_912, 70_000], [7_105_912, 5], [7_105_912]])
def test_a_foreign_context_is_refused(context: list[int]) -> None:
    with pytest.raises(RequestError) as error:
        generate(context=context)
    assert error.value.param == "context"
