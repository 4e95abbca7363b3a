"""Bodies of /v1/responses to requests: items keep their place, tools lead back, and what cannot run is left out."""

from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import JsonSchema
from lmx_daemon.contract.generation.requests import Chat, ImagePart, Message, TextPart, ToolChoice
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.openai_responses.bodies import ResponsesBody
from lmx_daemon.http.dialects.openai_responses.dialect import OpenAIResponses
from lmx_daemon.http.dialects.openai_responses.items import opened, sealed
from lmx_daemon.http.dialects.openai_responses.requests import Translated, responses_request
from tests.pictures import data_url, png

CONTEXT = RequestContext("r", OpenAIResponses(), Principal(tenant="http", scopes=frozenset({"infer"})))
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
PNG = data_url(png())


def translated(earlier: tuple[Message, ...] = (), **fields: Any) -> Translated:
    body = msgspec.convert({"model": "m", "input": "Hi"} | fields, ResponsesBody)
    return responses_request(body, "m", CONTEXT, earlier)


def prompt(earlier: tuple[Message, ...] = (), **fields: Any) -> Chat:
    found = translated(earlier, **fields).generate.prompt
    assert isinstance(found, Chat)
    return found


def shown(found: Chat) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in found.messages]


def item(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def test_instructions_come_first_and_developer_messages_keep_their_place() -> None:
    items = [item("user", "a"), item("developer", [{"type": "input_text", "text": "b"}]), item("assistant", "c")]
    assert shown(prompt(input=items, instructions="i")) == [
        ("system", "i"), ("user", "a"), ("system", "b"), ("assistant", "c"),
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["", [], None])
def test_empty_input_is_one_empty_message(given: Any) -> None:
    assert shown(prompt(input=given)) == [("user", "")]


def test_calls_of_one_turn_are_one_message_with_its_reasoning() -> None:
    items = [
        item("user", "a"),
        {"type": "reasoning", "summary": [], "encrypted_content": sealed("Hm")},
        item("assistant", [{"type": "output_text", "text": "b"}]),
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "free\ntext"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
    ]
    _, turn, first, second = prompt(input=items, tools=[FUNCTION, {"type": "custom", "name": "patch"}]).messages
    assert turn.text == "b" and turn.reasoning == "Hm"
    assert [(call.name, call.arguments) for call in turn.tool_calls] == [
        ("f", '{"x":1}'), ("patch", '{"input":"free\\ntext"}'),
    ]  # fmt: skip
    assert (first.role, first.text, first.name, first.tool_call_id) == ("tool", "one", "f", "c1")
    assert (second.text, second.name) == ("two", "patch")


def test_tools_of_a_namespace_are_flattened_and_a_second_one_of_the_same_name_gets_its_namespace() -> None:
    tools = [FUNCTION, {"type": "namespace", "name": "ns", "tools": [FUNCTION, FUNCTION | {"name": "g"}]}]
    called = {"type": "function_call", "call_id": "c", "name": "f", "namespace": "ns", "arguments": "{}"}
    found = prompt(input=[item("user", "a"), called], tools=tools)
    assert [tool.name for tool in found.tools] == ["f", "ns__f", "g"]
    assert found.messages[1].tool_calls[0].name == "ns__f"


def test_strict_functions_are_marked() -> None:
    tools = [FUNCTION, FUNCTION | {"name": "g", "strict": True}, FUNCTION | {"name": "h", "strict": False}]
    assert [tool.strict for tool in prompt(tools=tools).tools] == [False, True, False]


def test_grammar_of_a_custom_tool_is_a_part_of_its_description() -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
    (tool,) = prompt(tools=[{"type": "custom", "name": "patch", "description": "Patch.", "format": form}]).tools
    assert "start: /x/" in tool.description and tool.parameters["required"] == ["input"]


def test_tools_that_cannot_run_and_unknown_items_are_left_out_and_reported() -> None:
    items = [item("user", "a"), {"type": "web_search_call", "id": "w"}, {"type": "new_kind"}, item("user", "b")]
    found = translated(input=items, tools=[{"type": "web_search"}, FUNCTION, {"type": "local_shell"}])
    assert isinstance(found.generate.prompt, Chat)
    assert [tool.name for tool in found.generate.prompt.tools] == ["f"]
    assert found.table.dropped == ["web_search", "local_shell"] and found.skipped == ("web_search_call", "new_kind")


def test_tools_may_arrive_as_an_item() -> None:
    items = [{"type": "additional_tools", "tools": [FUNCTION]}, item("user", "a")]
    assert [tool.name for tool in prompt(input=items).tools] == ["f"]


def test_earlier_turns_come_before_the_input_and_new_instructions_before_both() -> None:
    earlier = (Message(role="user", content=(TextPart(text="a"),)),)
    assert shown(prompt(earlier, instructions="i", input="b")) == [("system", "i"), ("user", "a"), ("user", "b")]


def test_a_compacted_conversation_continues_from_its_summary() -> None:
    found = prompt(input=[{"type": "compaction", "encrypted_content": sealed("all of it")}, item("user", "go on")])
    assert found.messages[0].role == "user" and found.messages[0].text.endswith("all of it")


@pytest.mark.parametrize("given", [None, 3, "gAAAA", "lmx1.%", "lmx1.////"])
def test_foreign_sealed_text_is_none(given: Any) -> None:
    assert opened(given) is None


@pytest.mark.parametrize(
    ("effort", "thinking", "arguments"),
    [(None, None, {}), ("none", False, {}), ("minimal", True, {"reasoning_effort": "low"})],
)
def test_effort_switches_thinking(effort: Any, thinking: bool | None, arguments: dict[str, str]) -> None:
    found = prompt(reasoning={"effort": effort})
    assert found.thinking is thinking and found.template_arguments == arguments


def test_forms_of_the_text_are_constraints() -> None:
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    assert translated(text={"format": form}).generate.constraint == JsonSchema(
        schema=schema, param="text.format.schema"
    )
    assert translated(text={"format": {"type": "text"}, "verbosity": "low"}).generate.constraint is None
    assert translated(text={}).generate.constraint is None


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", ToolChoice(mode="required")),
        ({"type": "function", "name": "f"}, ToolChoice(mode="named", name="f")),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, ToolChoice()),
        ({"type": "web_search"}, ToolChoice()),
    ],
)
def test_rules_on_tool_calls(choice: Any, expected: ToolChoice) -> None:
    assert prompt(tools=[FUNCTION], tool_choice=choice).tool_choice == expected


def test_an_image_is_a_part_of_its_message() -> None:
    (message,) = prompt(input=[item("user", [{"type": "input_image", "image_url": PNG}])]).messages
    assert isinstance(message.content[0], ImagePart)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [item("robot", "a")]}, "input[0].role"),
        ({"input": [item("user", 7)]}, "input[0].content"),
        ({"input": [item("user", [{"type": "video"}])]}, "input[0].content[0].type"),
        (
            {"input": [item("user", [{"type": "input_image", "image_url": "file:///a"}])]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "absent"}}, "tool_choice"),
        ({"reasoning": {"effort": "wild"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as error:
        translated(**fields)
    assert error.value.param == param


@pytest.mark.parametrize("wrong", [[], {}, [{}], 1, None])
def test_role_and_type_that_are_no_text_are_refused(wrong: Any) -> None:
    with pytest.raises(RequestError, match=r"is not known; use user|is required"):
        prompt(input=[{"type": "message", "role": wrong, "content": "a"}])
    with pytest.raises(RequestError, match="a part of type"):
        prompt(input=[item("user", [{"type": wrong, "text": "a"}])])


@pytest.mark.parametrize("single", [-1, 0.5, True])
def test_arguments_that_are_a_single_value_stay_one(single: Any) -> None:
    called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": single}
    (turn,) = prompt(input=[called]).messages
    assert turn.tool_calls[0].arguments == msgspec.json.encode(single).decode()
    with pytest.raises(RequestError, match="must be a JSON schema"):
        prompt(tools=[FUNCTION | {"parameters": single}])


def test_arguments_of_more_than_64_bits_are_refused() -> None:
    with pytest.raises(RequestError, match="more than 64 bits"):
        prompt(input=[{"type": "function_call", "call_id": "c", "name": "f", "arguments": 2**70}])
