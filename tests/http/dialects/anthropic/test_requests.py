"""Anthropic's bodies in the terms of the contract."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.constraint import JsonSchema
from lmx_daemon.contract.generation.requests import (
    Chat,
    Generate,
    ImagePart,
    Message,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
)
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.decoding import decode
from lmx_daemon.http.dialects.anthropic.blocks import TYPES
from lmx_daemon.http.dialects.anthropic.bodies import CountBody, MessagesBody
from lmx_daemon.http.dialects.anthropic.dialect import Anthropic
from lmx_daemon.http.dialects.anthropic.requests import count_request, messages_request
from lmx_daemon.http.dialects.ignored import Ignored
from lmx_daemon.http.guard.principals import KEYLESS
from tests.pictures import png

CONTEXT = RequestContext("r", Anthropic(), KEYLESS, "curl")
PNG = png()
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()},
}
USER = [{"role": "user", "content": "x"}]
WEATHER = {"name": "weather", "description": "The weather", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}


NAMES = (
    *MessagesBody.__struct_fields__,
    *("type", "text", "source", "data", "content", "tool_use_id", "is_error", "id", "name", "input", "role"),
    *("thinking", "title", "context", "input_schema", "description", "budget_tokens", "effort", "format", "schema"),
)


def asked(ignored: Ignored | None = None, **fields: Any) -> Generate:
    body = {"model": "m", "max_tokens": 9, "messages": USER} | fields
    return messages_request(decode(json.dumps(body).encode(), MessagesBody), CONTEXT, ignored or Ignored())


def chat_of(ignored: Ignored | None = None, **fields: Any) -> Chat:
    prompt = asked(ignored, **fields).prompt
    assert isinstance(prompt, Chat)
    return prompt


def said(*messages: Any, system: Any = None) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in chat_of(messages=messages, system=system).messages]


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **fields}


def result(identity: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **fields}


class TestFields:
    def test_sampling_limits_and_user_are_taken(self) -> None:
        fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"]}
        found = asked(metadata={"user_id": "u1"}, **fields)
        assert (found.sampling.temperature, found.sampling.top_p, found.sampling.top_k) == (0.5, 0.9, 40)
        assert (found.max_tokens, found.stop, found.user, found.route) == (9, ("END",), "u1", "/v1/messages")
        assert (found.id, found.client, found.tenant) == ("r", "curl", "http")

    @pytest.mark.parametrize(
        ("setting", "thinks"),
        [
            (None, False),
            ({"type": "disabled"}, False),
            ({"type": "enabled", "budget_tokens": 2048}, True),
            ({"type": "adaptive", "display": "summarized"}, True),
            ({"type": "between_tools"}, True),
        ],
    )
    def test_thinking_is_off_unless_it_is_asked_for(self, setting: Any, thinks: bool) -> None:
        assert chat_of(thinking=setting).thinking is thinks

    def test_budget_of_thinking_is_a_limit_while_the_model_thinks(self) -> None:
        assert asked(thinking={"type": "enabled", "budget_tokens": 2048}).thinking_budget == 2048
        assert asked(thinking={"type": "disabled", "budget_tokens": 2048}).thinking_budget is None

    def test_effort_is_one_that_templates_know(self) -> None:
        found = {
            effort: chat_of(output_config={"effort": effort}) for effort in ("low", "medium", "high", "xhigh", "max")
        }
        values = [chat.template_arguments["reasoning_effort"] for chat in found.values()]
        assert values == ["low", "medium", "high", "high", "high"]
        ignored = Ignored()
        assert chat_of(ignored, output_config={"effort": "extreme"}).template_arguments == {}
        assert ignored.text == "output_config.effort (extreme)"

    @pytest.mark.parametrize("place", ["output_config.format", "output_format"])
    def test_schema_of_the_answer_is_a_constraint(self, place: str) -> None:
        form = {"type": "json_schema", "schema": {"type": "object"}}
        field, _, inner = place.partition(".")
        found = asked(**{field: {inner: form} if inner else form})
        assert found.constraint == JsonSchema(schema={"type": "object"}, param=f"{place}.schema")

    def test_unknown_fields_are_ignored(self) -> None:
        more = {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
        config = {"effort": "high", "task_budget": {"type": "tokens", "total": 5}}
        assert asked(output_config=config, service_tier="auto", speed="fast", container={"id": "c"}, **more)

    def test_count_has_the_same_prompt(self) -> None:
        body = {"model": "m", "messages": USER, "system": "s", "tools": [WEATHER], "thinking": {"type": "adaptive"}}
        count = count_request(decode(json.dumps(body).encode(), CountBody), CONTEXT, Ignored())
        assert count.prompt == chat_of(system="s", tools=[WEATHER], thinking={"type": "adaptive"})


class TestSystem:
    @pytest.mark.parametrize(
        ("system", "expected"),
        [
            ("Be kind.", "Be kind."),
            ([text("Be kind.", cache_control={"type": "ephemeral"}), text("Be short.")], "Be kind.\nBe short."),
            ([text("x-anthropic-billing-header: cc_version=2.1; cch=1f;"), text("Be kind.")], "Be kind."),
            ("x-anthropic-billing-header: cch=2e;\nBe kind.", "Be kind."),
        ],
    )
    def test_it_is_one_message_without_attribution(self, system: Any, expected: str) -> None:
        assert said(*USER, system=system) == [("system", expected), ("user", "x")]

    def test_an_empty_one_is_left_out(self) -> None:
        assert said(*USER, system="") == said(*USER, system=[]) == [("user", "x")]

    def test_system_messages_in_the_middle_stay_in_their_place(self) -> None:
        found = said(
            user(text("a")),
            {"role": "system", "content": "Agents: none."},
            {"role": "assistant", "content": "b"},
            {"role": "developer", "content": [text("c", cache_control={"type": "ephemeral"})]},
            {"role": "system", "content": []},
            user(text("d")),
            system="s",
        )
        assert found == [
            ("system", "s"),
            ("user", "a"),
            ("system", "Agents: none."),
            ("assistant", "b"),
            ("system", "c"),
            ("user", "d"),
        ]


class TestContent:
    def test_texts_that_follow_each_other_are_lines(self) -> None:
        assert said(user(text("a"), text(""), text("b", cache_control={"type": "ephemeral"}))) == [("user", "a\nb")]

    def test_results_of_tools_are_messages_in_the_order_of_the_blocks(self) -> None:
        calls = [{"type": "tool_use", "id": f"t{n}", "name": "weather", "input": {"n": n}} for n in (1, 2)]
        found = chat_of(
            messages=[
                *USER,
                {"role": "assistant", "content": [text("Look."), *calls]},
                user(
                    result("t1", "sun"),
                    text("<note>"),
                    result("t2", [text("rain"), IMAGE, text("fog")], is_error=False),
                    text("go on"),
                ),
            ]
        ).messages
        assert found[1:] == (
            Message(
                role="assistant",
                content=(TextPart(text="Look."),),
                tool_calls=(
                    ToolCall(id="t1", name="weather", arguments='{"n":1}'),
                    ToolCall(id="t2", name="weather", arguments='{"n":2}'),
                ),
            ),
            Message(role="tool", content=(TextPart(text="sun"),), tool_call_id="t1"),
            Message(role="user", content=(TextPart(text="<note>"),)),
            Message(
                role="tool",
                content=(TextPart(text="rain"), ImagePart(data=PNG, media_type="image/png"), TextPart(text="fog")),
                tool_call_id="t2",
            ),
            Message(role="user", content=(TextPart(text="go on"),)),
        )

    @pytest.mark.parametrize(
        ("content", "expected"),
        [("no such file", "Error: no such file"), ([], "Error: "), (None, "Error: "), ([IMAGE], "Error: ")],
    )
    def test_result_of_a_failed_call_begins_with_the_word(self, content: Any, expected: str) -> None:
        (message,) = chat_of(messages=[user(result("t1", content, is_error=True))]).messages
        assert message.text == expected and len(message.content) == (2 if content == [IMAGE] else 1)

    def test_images_are_bytes(self) -> None:
        (message,) = chat_of(messages=[user(IMAGE, text("What is it?"))]).messages
        assert message.content == (ImagePart(data=PNG, media_type="image/png"), TextPart(text="What is it?"))

    def test_documents_and_search_results_are_text_between_tags(self) -> None:
        plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Alpha."}}
        blocks = {"type": "document", "source": {"type": "content", "content": [text("Beta."), text("Gamma.")]}}
        found = {"type": "search_result", "source": "https://a.example", "title": "Hit", "content": [text("Delta.")]}
        assert said(user(plain | {"title": "Letter", "context": "of May"}, blocks, found)) == [
            (
                "user",
                "<document>\nLetter - of May\nAlpha.\n</document>\n<document>\nBeta.\nGamma.\n</document>\n"
                "<search_result>\nHit (https://a.example)\nDelta.\n</search_result>",
            )
        ]
        assert said(user(result("t", [plain])))[0] == ("tool", "<document>\nAlpha.\n</document>")

    @pytest.mark.parametrize(
        "block",
        [
            {"type": "image", "source": {"type": "file", "file_id": "f"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}},
            {"type": "document", "source": {"type": "url", "url": "https://a.example/x.pdf"}},
        ],
    )
    def test_addresses_and_pdf_files_are_refused_by_name(self, block: Any) -> None:
        for content, place in (([block], "content[0]"), ([result("t", [block])], "content[0].content[0]")):
            with pytest.raises(UnsupportedError) as caught:
                asked(messages=[user(*content)])
            assert caught.value.param == f"messages[0].{place}.source" and caught.value.hint

    def test_reasoning_of_an_earlier_answer_is_kept(self) -> None:
        blocks = [
            {"type": "thinking", "thinking": "Hm, ", "signature": "lmx"},
            {"type": "redacted_thinking", "data": "abc"},
            text("One"),
            {"type": "thinking", "thinking": "so.", "signature": "lmx"},
            text(" two."),
        ]
        ignored = Ignored()
        found = chat_of(ignored, messages=[*USER, {"role": "assistant", "content": blocks}, *USER]).messages[1]
        assert (found.reasoning, found.text) == ("Hm, so.", "One two.")
        assert ignored.text == "messages[1].content[1] (redacted_thinking)"

    def test_blocks_of_servers_are_ignored_and_reported(self) -> None:
        blocks = [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"type": "error", "error_code": "e"}},
            text("Found."),
        ]
        ignored = Ignored()
        found = chat_of(ignored, messages=[*USER, {"role": "assistant", "content": blocks}, *USER]).messages
        assert found[1].text == "Found."
        assert (
            ignored.text == "messages[1].content[0] (server_tool_use); messages[1].content[1] (web_search_tool_result)"
        )

    def test_last_message_of_the_assistant_is_continued(self) -> None:
        prompt = chat_of(messages=[*USER, {"role": "assistant", "content": "Once upon"}])
        assert prompt.continue_last and prompt.messages[-1].text == "Once upon"
        for empty in ("", [], [text("")]):
            prompt = chat_of(messages=[*USER, {"role": "assistant", "content": empty}])
            assert not prompt.continue_last and prompt.messages[-1].role == "user"
        assert not chat_of().continue_last


class TestTools:
    def test_tools_of_clients_are_offered_and_others_are_dropped_and_reported(self) -> None:
        ignored = Ignored()
        others = [
            SEARCH,
            {"type": "computer_20250124", "name": "computer", "display_width_px": 1, "display_height_px": 1},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        ]
        more = {"type": "custom", "strict": True, "defer_loading": True, "cache_control": {"type": "ephemeral"}}
        found = chat_of(ignored, tools=[*others, WEATHER, WEATHER | more | {"name": "second", "input_schema": {}}])
        assert found.tools == (
            Tool(name="weather", description="The weather", parameters={"type": "object"}),
            Tool(
                name="second", description="The weather", parameters={"type": "object", "properties": {}}, strict=True
            ),
        )
        assert ignored.text == (
            "tools[0] (web_search_20250305); tools[1] (computer_20250124); tools[2] (bash_20250124); "
            "tools[3] (text_editor_20250728)"
        )

    @pytest.mark.parametrize(
        ("choice", "expected", "parallel"),
        [
            (None, ToolChoice(), True),
            ({"type": "auto"}, ToolChoice(), True),
            ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(), False),
            ({"type": "any"}, ToolChoice(mode="required"), True),
            ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(mode="required"), False),
            ({"type": "tool", "name": "weather"}, ToolChoice(mode="named", name="weather"), True),
            ({"type": "none"}, ToolChoice(mode="none"), True),
        ],
    )
    def test_rule_on_calls(self, choice: Any, expected: ToolChoice, parallel: bool) -> None:
        prompt = chat_of(tools=[WEATHER], tool_choice=choice)
        assert (prompt.tool_choice, prompt.parallel_tool_calls) == (expected, parallel)

    @pytest.mark.parametrize("choice", [{"type": "tool", "name": "web_search"}, {"type": "any"}])
    def test_rule_that_demands_a_dropped_tool_is_ignored_and_reported(self, choice: Any) -> None:
        ignored = Ignored()
        prompt = chat_of(ignored, tools=[SEARCH], tool_choice=choice)
        assert prompt.tool_choice == ToolChoice() and prompt.tools == ()
        assert f"tool_choice ({choice.get('name', 'any')})" in ignored.text


def test_report_is_one_line_of_bounded_length_that_a_header_can_carry() -> None:
    ignored = Ignored()
    for position in range(30):
        ignored.note(f"tools[{position}]", "x\r\n\u00fc" * 100)
    assert len(ignored.text) < 3000 and ignored.text.isascii() and ignored.text.isprintable()
    assert ignored.text.endswith("; 10 more")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6), st.lists(JSON, max_size=3), JSON)
def test_any_json_is_translated_or_refused(fields: dict[str, Any], blocks: list[Any], block: Any) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": blocks}, *USER]} | fields
    if isinstance(block, dict):
        typed = [block | {"type": kind} for kind in TYPES]
        body["messages"] = [{"role": role, "content": [each]} for each in typed for role in ("user", "assistant")]
    with contextlib.suppress(RequestError):
        messages_request(decode(json.dumps(body).encode(), MessagesBody), CONTEXT, Ignored())
