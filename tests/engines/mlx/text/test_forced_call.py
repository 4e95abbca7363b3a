"""The constraint of an answer that has to be a tool call."""

import jsonschema
import pytest

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.requests import Chat, Tool, ToolChoice
from lmx_daemon.engines.mlx.text.families.deepseek import DEEPSEEK
from lmx_daemon.engines.mlx.text.families.glm import GLM
from lmx_daemon.engines.mlx.text.families.hermes import HERMES
from lmx_daemon.engines.mlx.text.families.json_lists import GRANITE
from lmx_daemon.engines.mlx.text.families.qwen3_coder import QWEN3_CODER
from lmx_daemon.engines.mlx.text.forced_call import forced_call, is_forced, opening_text
from lmx_daemon.engines.mlx.text.output_parser import OutputParser

STRICT = Tool(name="add", strict=True, parameters={"type": "object", "properties": {"n": {"type": "integer"}}})
LOOSE = Tool(name="look", parameters={"type": "object", "required": ["word"]})


def chat(mode: str, name: str = "", tools: tuple[Tool, ...] = (STRICT, LOOSE)) -> Chat:
    return Chat(messages=(), tools=tools, tool_choice=ToolChoice(mode=mode, name=name))  # type: ignore[arg-type]


def accepts(schema: dict[str, object], call: object) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(call))


def test_a_required_call_may_be_of_any_tool_and_a_named_one_of_its_own_only() -> None:
    add, look = {"name": "add", "arguments": {"n": 1}}, {"name": "look", "arguments": {"x": "anything"}}
    required = forced_call(chat("required"), HERMES).schema
    assert accepts(required, add) and accepts(required, look)
    assert not accepts(required, {"name": "add", "arguments": {"n": "1"}}) and not accepts(required, {"name": "x"})
    named = forced_call(chat("named", "look"), HERMES).schema
    assert accepts(named, look) and not accepts(named, add)


def test_a_call_that_cannot_be_made_is_refused_by_its_field() -> None:
    for refused in (chat("named", "x"), chat("required", tools=())):
        with pytest.raises(RequestError) as error:
            forced_call(refused, HERMES)
        assert error.value.param == "tool_choice"
    with pytest.raises(UnsupportedError):
        forced_call(chat("required"), DEEPSEEK)
    assert [is_forced(chat(mode)) for mode in ("none", "auto", "required", "named")] == [False, False, True, True]


@pytest.mark.parametrize("family", [HERMES, GLM, QWEN3_CODER, GRANITE], ids=lambda family: family.name)
def test_a_forced_call_is_read_by_its_family(family: object) -> None:
    parser = OutputParser(family, tools=[{"function": {"name": "add"}}])  # type: ignore[arg-type]
    text = opening_text(family) + '{"name": "add", "arguments": {"n": 1}}'  # type: ignore[arg-type]
    calls = [call for piece in (parser.feed(text), parser.finish()) for call in piece.calls]
    assert calls[0].name == "add" and "".join(call.arguments for call in calls) == '{"n": 1}'
