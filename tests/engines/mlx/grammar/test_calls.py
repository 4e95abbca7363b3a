"""Calls by a family's grammar: any answer that it allows is read as calls of the request's tools, by their schemas."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import Chat, Tool, ToolChoice
from lmx_daemon.engines.mlx.grammar.rules import lark_of
from lmx_daemon.engines.mlx.grammar.token_grammar import TokenGrammar
from lmx_daemon.engines.mlx.text.answer_rules import answer_rule
from lmx_daemon.engines.mlx.text.families.apertus import APERTUS
from lmx_daemon.engines.mlx.text.families.choose import FAMILIES as CHOSEN
from lmx_daemon.engines.mlx.text.families.command_r import COMMAND_R
from lmx_daemon.engines.mlx.text.families.deepseek import DEEPSEEK
from lmx_daemon.engines.mlx.text.families.family import Family
from lmx_daemon.engines.mlx.text.families.gemma import FUNCTION_GEMMA, GEMMA4
from lmx_daemon.engines.mlx.text.families.glm import GLM
from lmx_daemon.engines.mlx.text.families.harmony import HARMONY
from lmx_daemon.engines.mlx.text.families.hermes import HERMES
from lmx_daemon.engines.mlx.text.families.invokes import DEEPSEEK_DSML, MINIMAX_M2
from lmx_daemon.engines.mlx.text.families.json_lists import GRANITE, PHI4, XLAM
from lmx_daemon.engines.mlx.text.families.kimi_k2 import KIMI_K2
from lmx_daemon.engines.mlx.text.families.kimi_k3 import KIMI_K3
from lmx_daemon.engines.mlx.text.families.mistral import MISTRAL
from lmx_daemon.engines.mlx.text.families.muse_spark import MUSE_SPARK
from lmx_daemon.engines.mlx.text.families.pythonic import LFM2
from lmx_daemon.engines.mlx.text.families.qwen3_coder import QWEN3_CODER
from lmx_daemon.engines.mlx.text.output_parser import OutputParser
from tests.engines.mlx.grammar.random_answers import Vocabulary, allowed_tokens, draw, vocabulary_of

CONTROL: dict[str, tuple[str, ...]] = {
    HARMONY.name: (
        "<|start|>",
        "<|channel|>",
        "<|message|>",
        "<|constrain|>",
        "<|end|>",
    ),
    DEEPSEEK.name: (
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁sep｜>",
    ),
    DEEPSEEK_DSML.name: ("｜DSML｜",),
    KIMI_K2.name: tuple(
        f"<|tool_{name}|>"
        for name in ("calls_section_begin", "calls_section_end", "call_begin", "call_end", "call_argument_begin")
    ),
    KIMI_K3.name: ("<|open|>", "<|close|>", "<|sep|>"),
    MINIMAX_M2.name: ("<minimax:tool_call>", "</minimax:tool_call>"),
    GEMMA4.name: ("<|tool_call>", "<tool_call|>", '<|"|>', "<|channel>", "<channel|>"),
    FUNCTION_GEMMA.name: ("<start_function_call>", "<end_function_call>", "<escape>"),
    APERTUS.name: ("<|tools_prefix|>", "<|tools_suffix|>", "<|inner_prefix|>", "<|inner_suffix|>"),
    COMMAND_R.name: ("<|START_ACTION|>", "<|END_ACTION|>"),
    MISTRAL.name: ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    MUSE_SPARK.name: ("<|start|>", "<|message|>", "<|eom|>"),
    HERMES.name: ("<tool_call>", "</tool_call>"),
    QWEN3_CODER.name: ("<tool_call>", "</tool_call>"),
    GLM.name: ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    LFM2.name: ("<|tool_call_start|>", "<|tool_call_end|>"),
    GRANITE.name: ("<|tool_call|>",),
    PHI4.name: ("<|tool_call|>", "<|/tool_call|>"),
}
"""Control tokens of families. The markers of others are text."""
WORDS = (
    "</parameter>",
    "\n</parameter>",
    "</param>",
    "]]></param>",
    "parameter>",
    "</atem:parameter>",
    "argument",
    "think",
    "</longcat_arg_value>",
)
FAMILIES = {family.name: family for family in [*CHOSEN, XLAM]}
ONE_CALL = {HARMONY.name}
"""Families whose format has one call in an answer."""
TOOLS = (
    Tool(name="stop", strict=True, parameters={"type": "object", "properties": {}, "additionalProperties": False}),
    Tool(
        name="add",
        parameters={
            "type": "object",
            "properties": {
                "n": {"type": "integer"},
                "ratio": {"type": "number"},
                "exact": {"type": ["boolean", "null"]},
                "unit": {"$ref": "#/$defs/Unit"},
            },
            "required": ["n", "unit"],
            "$defs": {"Unit": {"enum": ["kilo gram", "m/s", "°C"]}},
        },
    ),
    Tool(
        name="look_up",
        strict=True,
        parameters={
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "code": {"type": "string", "pattern": "^[a-c]{2,4}$"},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2},
                "where": {
                    "type": "object",
                    "properties": {"x": {"type": "integer"}, "name": {"type": "string", "maxLength": 8}},
                    "required": ["x"],
                    "additionalProperties": False,
                },
                "note": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
            },
            "required": ["text", "where"],
            "additionalProperties": False,
        },
    ),
)
SHOWN = [{"type": "function", "function": {"name": tool.name, "parameters": tool.parameters}} for tool in TOOLS]
SCHEMAS = {tool.name: jsonschema.Draft202012Validator(tool.parameters) for tool in TOOLS}


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def known(request: pytest.FixtureRequest) -> tuple[Family, Vocabulary]:
    """Return a family and a vocabulary with its control tokens."""
    family = FAMILIES[request.param]
    think = family.think or ()
    return family, vocabulary_of(
        [*CONTROL.get(family.name, ()), *(text for text in think if text.count("|") < 3)], WORDS
    )


def chat(mode: str, name: str = "", **fields: Any) -> Chat:
    return Chat(messages=(), tools=TOOLS, tool_choice=ToolChoice(mode=mode, name=name), **fields)  # type: ignore[arg-type]


def constraint(asked: Chat, family: Family, vocabulary: Vocabulary, **fields: Any) -> TokenGrammar:
    found = answer_rule(asked, None, family)
    assert found is not None
    return TokenGrammar(vocabulary.compiled(found.rule, whole=found.whole), **fields)


def read(pieces: list[str], family: Family) -> tuple[list[tuple[str, Any]], str, list[str]]:
    """Return the calls, the content and the warnings of an answer in pieces."""
    parser = OutputParser(family, tools=SHOWN)
    found = [*map(parser.feed, pieces), parser.finish()]
    calls: list[tuple[str, str]] = []
    for part in (part for piece in found for part in piece.calls):
        if part.name is not None:
            calls.append((part.name, ""))
        calls[-1] = (calls[-1][0], calls[-1][1] + part.arguments)
    warnings = [piece.warning for piece in found if piece.warning]
    return [(name, json.loads(text)) for name, text in calls], "".join(piece.content for piece in found), warnings


def check(pieces: list[str], family: Family, only: str = "") -> list[str]:
    """Assert that an answer is calls by their schemas, whole and streamed, and return their names."""
    calls, content, warnings = read(pieces, family)
    text = "".join(pieces)
    assert read([text], family) == (calls, content, warnings)
    assert calls and not content.strip() and not warnings, text
    for name, arguments in calls:
        assert not only or name == only
        SCHEMAS[name].validate(arguments)
    return [name for name, _ in calls]


@pytest.mark.parametrize("mode", ["required", "named"])
def test_a_demanded_call_is_read_and_follows_its_schema(known: tuple[Family, Vocabulary], mode: str) -> None:
    family, vocabulary = known
    for seed in range(12):
        name = TOOLS[seed % 3].name if mode == "named" else ""
        made = draw(constraint(chat(mode, name), family, vocabulary), vocabulary, seed)
        assert made is not None, "the answer does not end"
        names = check(vocabulary.text(made), family, name)
        assert mode == "required" or len(names) == 1


def test_a_required_answer_may_hold_several_calls_unless_the_request_forbids_it(
    known: tuple[Family, Vocabulary],
) -> None:
    family, vocabulary = known
    counts: dict[bool, set[int]] = {True: set(), False: set()}
    likely = [*b"\n<i>,;[", *(vocabulary.control[s.start] for s in family.syntaxes if s.start in vocabulary.control)]
    tools = (Tool(name="stop", parameters={"type": "object", "additionalProperties": False}),)
    for parallel, found in counts.items():
        asked = msgspec.structs.replace(chat("required", parallel_tool_calls=parallel), tools=tools)
        for seed in range(20):
            made = draw(constraint(asked, family, vocabulary), vocabulary, seed, likely)
            assert made is not None
            found.add(len(read(vocabulary.text(made), family)[0]))
    assert counts[False] == {1}
    assert counts[True] == {1} if family.name in ONE_CALL else max(counts[True]) > 1


def test_a_strict_tool_is_called_by_its_schema_once_the_model_begins_a_call(known: tuple[Family, Vocabulary]) -> None:
    family, vocabulary = known
    texts, called = 0, 0
    starts = [syntax.start for syntax in family.syntaxes if syntax.start]
    likely = [*(vocabulary.control[token] for token in vocabulary.control if any(s.startswith(token) for s in starts))]
    begin = vocabulary_tokens(vocabulary, next(iter(starts), '{"name"'))
    for seed in range(12):
        limited = constraint(chat("auto"), family, vocabulary)
        made = forced_beginning(limited, begin if seed % 2 else [])
        if made is None:  # the family begins answers with a header
            continue
        rest = draw(limited, vocabulary, seed, [*likely, vocabulary.end])
        assert rest is not None, "the answer does not end"
        pieces = vocabulary.text([*made, *rest])
        calls, content, _ = read(pieces, family)
        assert read(["".join(pieces)], family)[:2] == (calls, content)
        for name, arguments in calls:
            if name != "add":  # it is not strict
                SCHEMAS[name].validate(arguments)
        texts, called = texts + bool(content.strip()), called + len(calls)
    assert called


def vocabulary_tokens(vocabulary: Vocabulary, text: str) -> list[int]:
    """Return the tokens of a text: its control tokens, and bytes."""
    found = []
    while text:
        token = next((token for token in vocabulary.control if text.startswith(token)), "")
        found += [vocabulary.control[token]] if token else list(text[0].encode())
        text = text[len(token) or 1 :]
    return found


def forced_beginning(limited: TokenGrammar, tokens: list[int]) -> list[int] | None:
    """Advance a constraint by tokens; None if it does not allow them."""
    for token in tokens:
        if token not in allowed_tokens(limited):
            return None
        assert limited.advance(token) is None
    return tokens


def test_a_schema_that_cannot_be_compiled_is_given_up_for_tools_that_are_not_strict() -> None:
    tools = tuple(
        Tool(name=name, parameters={"type": "object", "minProperties": 1}, strict=name == "b") for name in "ab"
    )
    asked = Chat(messages=(), tools=tools, tool_choice=ToolChoice(mode="required"))
    found = answer_rule(asked, None, HERMES)
    assert found is not None and found.relaxed is not None
    full, relaxed = lark_of(found.rule, {}), lark_of(found.relaxed, {})
    assert full.count("minProperties") == relaxed.count("minProperties") == 1, "equal schemas share a rule"
    assert "json" in relaxed and relaxed.count("%json") == full.count("%json") + 1
    named = Chat(messages=(), tools=tools, tool_choice=ToolChoice(mode="named", name="b"))
    only = answer_rule(named, None, HERMES)
    assert only is not None and only.relaxed is None


def test_a_call_that_cannot_be_made_is_refused_by_its_field() -> None:
    without = Chat(messages=(), tool_choice=ToolChoice(mode="required"))
    for refused in (chat("named", "x"), without):
        with pytest.raises(RequestError) as error:
            answer_rule(refused, None, HERMES)
        assert error.value.param == "tool_choice"
    with pytest.raises(UnsupportedError) as unsupported:
        answer_rule(chat("required"), None, Family("foreign"))
    assert unsupported.value.param == "tool_choice" and "foreign" in str(unsupported.value)
    assert answer_rule(chat("auto"), None, Family("foreign")) is None
    assert answer_rule(chat("none"), None, HERMES) is None
