"""The rule of a whole answer: calls that a request demands, calls of strict tools, and text by a constraint. Pure.

The rules of calls are the family's. Thinking between markers is outside of them (see grammar.token_grammar).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.constraint import Constraint, Grammar, JsonSchema, Regex, TextChoice
from lmx_daemon.contract.generation.requests import Chat, Tool
from lmx_daemon.engines.mlx.grammar.rules import (
    ANY,
    AnyText,
    Either,
    GrammarRule,
    Json,
    Literal,
    Nested,
    OtherToken,
    Pattern,
    Repeat,
    Until,
    optional,
    sequence,
)
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool
from lmx_daemon.engines.mlx.text.families.family import Family

FORCED = ("required", "named")
NO_BARE_CALL = r"""(?s:\s*(?:[^\s{\[]|\{\s*(?:[^\s"]|"[^n])|\[\s*[^\s{]).*)?"""
"""Text that does not begin as a call without a marker does: an object, or a list of objects, with a name."""
COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties", "propertyNames", "unevaluatedProperties")


@dataclass(frozen=True)
class AnswerRule:
    """The rule of an answer."""

    rule: GrammarRule
    relaxed: GrammarRule | None
    """The rule without the schemas that may be given up, if they cannot be compiled."""
    whole: bool
    """Whether it covers thinking, too."""


def demands_call(prompt: object) -> bool:
    """Return whether the answer to a prompt has to be a tool call."""
    return isinstance(prompt, Chat) and prompt.tool_choice.mode in FORCED


def answer_rule(chat: Chat, constraint: Constraint | None, family: Family) -> AnswerRule | None:
    """Return the rule of an answer, or None if the constraint alone is enough.

    Raises RequestError and UnsupportedError. In a family without a syntax, strict tools have no rule.
    """
    if demands_call(chat):
        return _demanded(chat, family)
    if chat.continue_last:
        return None
    tools = chat.tools if chat.tool_choice.mode == "auto" and family.syntaxes else ()
    strict = any(tool.strict for tool in tools)
    if not strict and (constraint is None or family.frame is None):
        return None
    kinds = ("strict", "none") if strict else ("none",)
    if constraint is None:
        rules = [_free_answer(family, called(tools, kind)) for kind in kinds]
        whole = True
    else:
        text, many, whole = _text_answer(family, constraint), chat.parallel_tool_calls, family.frame is not None
        rules = [
            Either((_demanded_answer(family, called(tools, kind), many), text)) if tools else text for kind in kinds
        ]
    return AnswerRule(rules[0], rules[1] if strict else None, whole)


def _demanded(chat: Chat, family: Family) -> AnswerRule:
    choice = chat.tool_choice
    tools = [tool for tool in chat.tools if choice.mode == "required" or tool.name == choice.name]
    if not tools:
        reason = "no tools are given" if not chat.tools else f"no tool is named {choice.name!r}"
        raise RequestError(f"tool_choice: {reason}", param="tool_choice", hint="name one of the request's tools")
    if not family.syntaxes or (chat.continue_last and family.frame is not None):
        where = "in the continuation of a message of" if family.syntaxes else "for"
        raise UnsupportedError(
            f"a rule on tool calls is not supported {where} models that write calls as {family.name} does",
            param="tool_choice",
            hint='use "auto" or "none"',
        )
    many = choice.mode == "required" and chat.parallel_tool_calls
    rule = _demanded_answer(family, called(tools, "all"), many)
    relaxed = None if all(tool.strict for tool in tools) else _demanded_answer(family, called(tools, "strict"), many)
    return AnswerRule(rule, relaxed, whole=family.frame is not None)


def called(tools: Sequence[Tool], by_schema: str) -> list[CalledTool]:
    """Return the tools with the schemas that calls follow: of all tools, of "strict" ones, or of "none"."""
    return [
        CalledTool(tool.name, arguments_schema(tool.parameters))
        if by_schema == "all" or (by_schema == "strict" and tool.strict)
        else CalledTool(tool.name, {"type": "object"})
        for tool in tools
    ]


def arguments_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of arguments. Where all of them are listed, it allows no others unless it states so."""
    schema = {"type": "object"} | parameters
    if "additionalProperties" in schema or any(key in schema for key in COMBINING):
        return schema
    return schema | {"additionalProperties": False} if "properties" in schema else schema


def _demanded_answer(family: Family, tools: Sequence[CalledTool], many: bool) -> GrammarRule:
    if family.frame is not None:
        return family.frame.call(Either(tuple(syntax.answer(tools, many) for syntax in family.syntaxes)))
    return sequence(optional(Pattern(r"\n{1,2}")), family.syntaxes[0].answer(tools, many))


def _free_answer(family: Family, tools: Sequence[CalledTool]) -> GrammarRule:
    """Return the rule of an answer of text and calls."""
    if family.frame is not None:
        return family.frame.any(Either(tuple(syntax.answer(tools, True) for syntax in family.syntaxes)))
    bare = [syntax for syntax in family.syntaxes if not syntax.start]
    marked = [syntax for syntax in family.syntaxes if syntax.start]
    markers = tuple(syntax.start for syntax in marked)

    def next_part(text: str) -> GrammarRule:
        calls = (sequence(Until(syntax.start, text), syntax.calls(tools, True)) for syntax in marked)
        return Either((*calls, OtherToken(markers, text)))

    further = sequence(Repeat(next_part(ANY)), AnyText())
    if not bare:
        return further
    alone = (sequence(optional(Pattern(r"\s{1,8}")), syntax.answer(tools, True)) for syntax in bare)
    return Either((*alone, sequence(next_part(NO_BARE_CALL), further), Pattern(NO_BARE_CALL)))


def _text_answer(family: Family, constraint: Constraint) -> GrammarRule:
    """Return the rule of an answer whose text follows a constraint."""
    match constraint:
        case JsonSchema(schema=schema):
            text: GrammarRule = Json(schema)
        case Regex(pattern=pattern):
            text = Pattern(pattern)
        case TextChoice(choices=choices):
            text = Either(tuple(map(Literal, choices)))
        case Grammar(lark=lark):
            text = Nested(lark)
    return text if family.frame is None else family.frame.text(text)
