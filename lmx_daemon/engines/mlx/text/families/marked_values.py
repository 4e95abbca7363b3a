"""Rules of arguments that are written one by one between markers: text as it is, other values as JSON.

The counterpart of typed.py, which reads such values.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import (
    ANY,
    Either,
    GrammarRule,
    Json,
    Literal,
    Pattern,
    Repeat,
    Until,
    optional,
    sequence,
)
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool
from lmx_daemon.engines.mlx.text.families.typed import DEFINITIONS, property_schemas, types_of

KEY = Pattern(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")
"""Name of an argument that no schema states."""
LIMITS = ("pattern", "minLength", "maxLength")


def arguments(tool: CalledTool, one: Callable[[GrammarRule, Any], GrammarRule]) -> GrammarRule:
    """Return the arguments of a call, each by `one` of its key and its schema. Only optional ones can be left out."""
    if "properties" not in tool.schema:
        return Repeat(one(KEY, {})) if tool.schema.get("additionalProperties") is not False else sequence()
    required = set(tool.schema.get("required") or ())
    rules = [(key, one(Literal(key), schema)) for key, schema in property_schemas(tool.schema).items()]
    return sequence(*(rule if key in required else optional(rule) for key, rule in rules))


def value(schema: Any, end: str) -> GrammarRule:
    """Return a value and the marker `end` behind it."""
    schema = schema if isinstance(schema, dict) else {}
    if (choices := texts_of(schema)) is not None:
        return sequence(Either(tuple(map(Literal, choices))), end)
    if alternatives := alternatives_of(schema):
        return Either(tuple(value(each, end) for each in alternatives))
    if not is_text(schema):
        return sequence(Json(schema), end)
    return Until(end, limits(schema) if types_of(schema) == {"string"} else ANY)


def alternatives_of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives of a schema, each of which stands for itself."""
    definitions = {key: schema[key] for key in DEFINITIONS if key in schema}
    listed = schema.get("anyOf") or schema.get("oneOf")
    return [each | definitions for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def is_text(schema: Any) -> bool:
    """Return whether a value by `schema` may be any text."""
    types = types_of(schema)
    return not types or "string" in types


def texts_of(schema: dict[str, Any]) -> list[str] | None:
    """Return the values that a schema lists, as texts, if one of them is a text and all are scalars."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or not any(isinstance(each, str) and each for each in values):
        return None
    if any(isinstance(each, (dict, list)) for each in values):
        return None
    return [each if isinstance(each, str) else json.dumps(each) for each in values]


def limits(schema: dict[str, Any]) -> str:
    """Return the pattern of a text by the pattern or the length that its schema states."""
    if not any(key in schema for key in LIMITS):
        return ANY
    pattern = schema.get("pattern")
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    return whole(pattern) if isinstance(pattern, str) else f"(?s:.{{{least},{most}}})"


def whole(pattern: str) -> str:
    """Return a pattern of all texts in which `pattern` is found."""
    begins, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith(r"\$")
    inner = pattern[int(begins) : len(pattern) - int(ends)]
    return f"{'' if begins else '(?s:.*)'}({inner}){'' if ends else '(?s:.*)'}"


def separated(rules: Sequence[tuple[bool, GrammarRule]], comma: str) -> list[GrammarRule]:
    """Return rules with `comma` between those that are there; a rule with False may be left out."""
    if not rules:
        return []
    (needed, rule), rest = rules[0], rules[1:]
    behind = [sequence(comma, each) if must else optional(sequence(comma, each)) for must, each in rest]
    first = sequence(rule, *behind)
    return [first] if needed else [Either((first, sequence(*separated(rest, comma))))]
