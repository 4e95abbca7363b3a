"""Constraints of the OpenAI routes: `response_format` and the extensions, and what is wrong with others."""

from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import Constraint, Grammar, JsonSchema, Regex, TextChoice
from lmx_daemon.http.dialects.openai_chat.bodies import ChatBody
from lmx_daemon.http.dialects.openai_chat.constraints import constraint

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
PLACE = "response_format.json_schema.schema"


def of(**fields: Any) -> Constraint | None:
    body = msgspec.convert({"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields, ChatBody)
    return constraint(body, body.response_format)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, JsonSchema(schema={"type": "object"})),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
                }
            },
            JsonSchema(schema=SCHEMA, param=PLACE),
        ),
        ({"guided_regex": "a+"}, Regex(pattern="a+", param="guided_regex")),
        ({"guided_choice": ["a", "b"]}, TextChoice(choices=("a", "b"), param="guided_choice")),
        ({"guided_grammar": 'start: "x"'}, Grammar(lark='start: "x"', param="guided_grammar")),
    ],
)
def test_constraints_are_read(fields: dict[str, Any], expected: Constraint | None) -> None:
    assert of(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
        ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": 2**70}}}}, PLACE),
    ],
)
def test_wrong_constraints_are_refused_by_their_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refused:
        of(**fields)
    assert refused.value.param == param


def test_the_order_of_properties_reaches_the_engine() -> None:
    found = of(response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}})
    assert isinstance(found, JsonSchema)
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Constraint)
    assert isinstance(sent, JsonSchema) and list(sent.schema["properties"]) == ["b", "a"]
