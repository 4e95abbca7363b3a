"""Translation of OpenAI's bodies to requests."""

import json
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.constraint import TextChoice
from lmx_daemon.contract.generation.requests import MEMORY_ONLY, Chat, Generate, ImagePart, TextPart, ToolChoice
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.decoding import decode
from lmx_daemon.http.dialects.openai_chat.bodies import ChatBody, CompletionBody, MessageBody
from lmx_daemon.http.dialects.openai_chat.completions.completion_requests import completion_requests
from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.openai_chat.functions import modern
from lmx_daemon.http.dialects.openai_chat.messages import message
from lmx_daemon.http.dialects.openai_chat.reasoning import reasoning_names
from lmx_daemon.http.dialects.openai_chat.requests import chat_request
from lmx_daemon.http.guard.principals import KEYLESS
from tests.pictures import data_url, png

CONTEXT = RequestContext("r", OpenAIChat(), KEYLESS, "curl")


def test_additional_fields_of_lmx_reach_the_engine() -> None:
    own = b'"deadline": 9, "queue_deadline": 2.5, "priority": -3, "cache_namespace": "team"'
    own += b', "keep_alive": "1m", "stop_token_ids": [5]'
    body = decode(b'{"model": "m", "prompt": "x", ' + own + b"}", CompletionBody)
    (asked,) = completion_requests(body, CONTEXT)
    assert (asked.deadline, asked.queue_deadline, asked.priority) == (9.0, 2.5, -3)
    assert (asked.cache_namespace, asked.ttl) == ("team", 60.0)
    assert asked.stop_tokens == (5,)


def test_every_name_of_the_thinking_switch_is_understood() -> None:
    def asked(arguments: bytes) -> Chat:
        body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": %b}' % arguments
        prompt = chat_request(decode(body, ChatBody), CONTEXT).prompt
        assert isinstance(prompt, Chat)
        return prompt

    for name in ("enable_thinking", "thinking", "reasoning"):
        assert asked(b'{"%b": false}' % name.encode()).thinking is False
    assert asked(b'{"thinking_budget": 512}').template_arguments == {"thinking_budget": 512}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, "reasoning_content"),
        ({"include_reasoning": True}, "reasoning_content reasoning"),
        ({"reasoning": {"effort": "low"}}, "reasoning_content reasoning"),
        ({"messages": [{"role": "assistant", "content": "x", "reasoning": "y"}]}, "reasoning_content reasoning"),
        ({"messages": [{"role": "assistant", "content": "x", "reasoning_content": "y"}]}, "reasoning_content"),
        ({"include_reasoning": False}, ""),
        ({"reasoning": {"exclude": True}}, ""),
    ],
)
def test_an_answer_names_its_reasoning_as_the_client_reads_it(fields: dict[str, Any], names: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    assert reasoning_names(decode(json.dumps(body).encode(), ChatBody)) == tuple(names.split())


def test_reasoning_in_the_form_of_openrouter() -> None:
    asked = generate(reasoning={"effort": "high", "max_tokens": 100})
    assert isinstance(asked.prompt, Chat) and asked.prompt.thinking is True and asked.thinking_budget == 100
    assert asked.prompt.template_arguments == {"reasoning_effort": "high"}
    for off in ({"enabled": False}, {"effort": "none"}):
        assert chat(reasoning=off).thinking is False
    assert chat(reasoning={}).thinking is None


@pytest.mark.parametrize(
    ("field", "param"),
    [
        (b'"chat_template_kwargs": {"reasoning_effort": %d}', "chat_template_kwargs.reasoning_effort"),
        (
            b'"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": [{"minimum": %d}]}}}]',
            "tools[0].function.parameters",
        ),
        (
            b'"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": %d}}}]}]',
            "messages[0].tool_calls",
        ),
    ],
)
def test_integer_of_more_than_64_bits_is_refused_by_name(field: bytes, param: str) -> None:
    messages = b'"messages": [{"role": "user", "content": "x"}]'
    for number in (2**64 - 1, -(2**63)):
        chat_request(decode(b'{"model": "m", %b, %b}' % (messages, field % number), ChatBody), CONTEXT)
    for number in (2**64, -(2**63) - 1):
        with pytest.raises(RequestError, match="64 bits") as raised:
            chat_request(decode(b'{"model": "m", %b, %b}' % (messages, field % number), ChatBody), CONTEXT)
        assert raised.value.param == param


def generate(**fields: object) -> Generate:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return chat_request(modern(decode(json.dumps(body).encode(), ChatBody)), CONTEXT)


def chat(**fields: object) -> Chat:
    prompt = generate(**fields).prompt
    assert isinstance(prompt, Chat)
    return prompt


def function(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, object]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [function(name) for name in names]}}


class TestToolChoice:
    TOOLS = [function("f"), function("g")]

    @pytest.mark.parametrize(
        ("choice", "names", "rule"),
        [
            (None, ["f", "g"], ToolChoice()),
            ("auto", ["f", "g"], ToolChoice()),
            ("none", ["f", "g"], ToolChoice(mode="none")),
            ("required", ["f", "g"], ToolChoice(mode="required")),
            (function("g"), ["f", "g"], ToolChoice(mode="named", name="g")),
            (allowed("auto", "g"), ["g"], ToolChoice()),
            (allowed("auto"), [], ToolChoice()),
            (allowed("required", "f"), ["f"], ToolChoice(mode="required")),
        ],
    )
    def test_every_form_becomes_tools_and_a_rule(self, choice: object, names: list[str], rule: ToolChoice) -> None:
        asked = chat(tools=self.TOOLS, tool_choice=choice)
        assert [tool.name for tool in asked.tools] == names and asked.tool_choice == rule

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ("some", "tool_choice: 'some' is not known; use"),
            (function("h"), "tool_choice.function.name: there is no tool 'h'"),
            ({"type": "function"}, "tool_choice: the object has an unknown form"),
            (allowed("always", "f"), "tool_choice: the object has an unknown form"),
            (allowed("auto", "h"), "tool_choice.allowed_tools.tools[0].function.name: there is no tool 'h'"),
            (allowed("required"), "tool_choice: 'required' needs at least one tool"),
        ],
    )
    def test_unknown_form_or_tool_is_refused_by_its_place(self, choice: object, message: str) -> None:
        with pytest.raises(RequestError) as refused:
            chat(tools=self.TOOLS, tool_choice=choice)
        assert refused.value.message.startswith(message) and refused.value.param == message.partition(":")[0]

    def test_strict_tools_are_marked(self) -> None:
        offered = [function("f"), {"type": "function", "function": {"name": "g", "strict": True}}]
        for choice in ("auto", "required", function("g")):
            assert [tool.strict for tool in chat(tools=offered, tool_choice=choice).tools] == [False, True]

    def test_rule_without_tools_is_refused_only_if_it_demands_a_call(self) -> None:
        assert chat(tool_choice="auto").tool_choice == ToolChoice()
        assert chat(tool_choice="none").tool_choice == ToolChoice(mode="none")
        with pytest.raises(RequestError, match="needs at least one tool"):
            chat(tool_choice="required")


class TestPrefill:
    USER, BEGUN = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "The"}
    CALL = {"role": "assistant", "content": "x", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}

    @pytest.mark.parametrize(
        ("last", "continued"),
        [(USER, False), (BEGUN, True), ({"role": "assistant", "content": ""}, False), (CALL, False)],
    )
    def test_last_message_of_the_assistant_is_continued(self, last: dict[str, object], continued: bool) -> None:
        assert chat(messages=[self.USER, last]).continue_last is continued

    def test_field_of_vllm_decides(self) -> None:
        assert not chat(messages=[self.USER, self.BEGUN], continue_final_message=False).continue_last
        with pytest.raises(RequestError) as refused:
            chat(messages=[self.USER], continue_final_message=True)
        assert refused.value.param == "continue_final_message"


def test_overflow_and_budget_of_thinking_reach_the_engine() -> None:
    asked = generate(overflow="rolling", thinking_budget=64)
    assert asked.overflow == "rolling" and asked.thinking_budget == 64
    assert generate().overflow is None and generate().thinking_budget is None
    for given, budget in ((64, 64), (0, 0), (-1, None)):
        assert generate(chat_template_kwargs={"thinking_budget": given}).thinking_budget == budget
    assert generate(chat_template_kwargs={"thinking_budget": 64}, thinking_budget=9).thinking_budget == 9


def test_fields_without_meaning_for_a_local_model_are_accepted() -> None:
    ignored = {"store": True, "metadata": {"a": "b"}, "service_tier": "auto", "prompt_cache_key": "k"}
    assert generate(**ignored) == generate()


def test_system_and_developer_messages_keep_their_places() -> None:
    roles = ("system", "developer", "user", "developer", "user")
    asked = chat(messages=[{"role": role, "content": "x", "name": "ada"} for role in roles])
    assert [message.role for message in asked.messages] == ["system", "system", "user", "system", "user"]
    assert asked.messages[2].name == "ada"


class TestFunctions:
    """The old form of tools."""

    FUNCTIONS = [{"name": "f", "parameters": {"type": "object"}}]

    def asked(self, **fields: object) -> Chat:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
        prompt = chat_request(modern(decode(json.dumps(body).encode(), ChatBody)), CONTEXT).prompt
        assert isinstance(prompt, Chat)
        return prompt

    def test_functions_become_tools_with_at_most_one_call(self) -> None:
        chat = self.asked(functions=self.FUNCTIONS, function_call="auto")
        assert [tool.name for tool in chat.tools] == ["f"] and not chat.parallel_tool_calls
        assert self.asked(functions=self.FUNCTIONS, function_call="none").tool_choice.mode == "none"
        named = self.asked(functions=self.FUNCTIONS, function_call={"name": "f"})
        assert named.tool_choice == ToolChoice(mode="named", name="f")

    def test_a_result_belongs_to_the_call_before_it(self) -> None:
        call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
        result = {"role": "function", "name": "f", "content": "1"}
        user = {"role": "user", "content": "hi"}
        _, first, one, second, two = self.asked(messages=[user, call, result, call, result]).messages
        assert first.tool_calls[0].id == one.tool_call_id != second.tool_calls[0].id == two.tool_call_id
        assert one.role == "tool" and one.name == "f"

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"function_call": {"name": "g"}}, "function_call"),
            ({"function_call": "required"}, "function_call"),
            ({"tools": [{"type": "function", "function": {"name": "g"}}]}, "functions"),
        ],
    )
    def test_unsupported_features_are_refused_by_name(self, fields: dict[str, object], param: str) -> None:
        with pytest.raises(RequestError) as refused:
            self.asked(functions=self.FUNCTIONS, **fields)
        assert refused.value.param == param


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\ude00", rb"a\ud83dx", b"\xed\xa0\xbd", b"\xff"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "HALF", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "HALF"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "HALF"}]}]}',
        b'{"model": "m", "messages": [{"role": "tool", "content": "x", "tool_call_id": "HALF"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{"function": {"name": "HALF"}}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stop": ["HALF"]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"a": "HALF"}}',
    ],
)
def test_lone_surrogate_anywhere_in_a_request_is_refused(body: bytes, half: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        decode(body.replace(b"HALF", half), ChatBody)
    assert "the body is not JSON" in refused.value.message
    assert not half.startswith(b"\\") or "half a character" in (refused.value.hint or "")


def test_prompt_that_must_not_be_written_to_disk_has_a_separate_namespace() -> None:
    def namespace(fields: bytes) -> str:
        body = decode(b'{"model": "m", "prompt": "x"%b}' % fields, CompletionBody)
        return completion_requests(body, CONTEXT)[0].cache_namespace

    assert namespace(b"") == namespace(b', "cache_on_disk": true') == ""
    assert namespace(b', "cache_on_disk": false, "cache_namespace": "team"') == MEMORY_ONLY + "team"


def test_prompts_of_a_completion_have_the_constraint_of_the_request() -> None:
    body = decode(b'{"model": "m", "prompt": ["x", "y"], "guided_choice": ["a", "b"]}', CompletionBody)
    expected = TextChoice(choices=("a", "b"), param="guided_choice")
    assert [asked.constraint for asked in completion_requests(body, CONTEXT)] == [expected] * 2


class TestImages:
    def test_a_data_url_is_an_image_and_its_place_is_kept(self) -> None:
        content = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": data_url(png())}}]
        body = msgspec.convert({"role": "user", "content": content}, MessageBody)
        text, image = message(0, body).content
        assert isinstance(text, TextPart) and isinstance(image, ImagePart) and image.media_type == "image/png"

    @pytest.mark.parametrize("url", ["ftp://example.org/a.png", "file:///etc/passwd"])
    def test_other_urls_are_refused_by_their_place(self, url: str) -> None:
        content = [{"type": "image_url", "image_url": {"url": url}}]
        with pytest.raises(UnsupportedError) as error:
            message(3, msgspec.convert({"role": "user", "content": content}, MessageBody))
        assert error.value.param == "messages[3].content[0].image_url"
