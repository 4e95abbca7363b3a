"""Rules of Gemma's calls: `call:NAME{key:value}`, with strings between marks of their own at any depth."""

from dataclasses import dataclass
from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import Either, GrammarRule, Json, Literal, Repeat, Until, optional, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.marked_values import KEY, alternatives_of, limits, separated, texts_of
from lmx_daemon.engines.mlx.text.families.typed import DEFINITIONS, property_schemas, resolved, types_of

PLAIN = ("boolean", "integer", "null", "number")
"""Types of values that are written as in JSON."""
MAX_DEPTH = 6
"""Depth below which a value is a scalar."""


@dataclass(frozen=True)
class GemmaValue:
    """The rules of values whose strings stand between `mark`."""

    mark: str

    def call(self, tool: CalledTool) -> GrammarRule:
        """Return the rule of a call."""
        return sequence(f"call:{tool.name}", self.object(tool.schema, 0))

    def object(self, schema: dict[str, Any], depth: int) -> GrammarRule:
        """Return the rule of an object."""
        if "properties" not in schema and schema.get("additionalProperties") is not False:
            pair = sequence(KEY, ":", self.any())
            return sequence("{", optional(sequence(pair, Repeat(sequence(",", pair)))), "}")
        required = set(schema.get("required") or ())
        rules = [
            (key in required, sequence(f"{key}:", self.value(inner, depth + 1)))
            for key, inner in property_schemas(schema).items()
        ]
        return sequence("{", *separated(rules, ","), "}")

    def value(self, schema: Any, depth: int) -> GrammarRule:
        """Return the rule of a value."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return self.any()
        if (texts := texts_of(schema)) is not None:
            return Either(tuple(Literal(f"{self.mark}{text}{self.mark}") for text in texts))
        if alternatives := alternatives_of(schema):
            return Either(tuple(self.value(each, depth) for each in alternatives))
        types = types_of(schema)
        plain = [kind for kind in PLAIN if kind in types]
        found: list[GrammarRule] = [Json(schema if set(plain) == types else {"type": plain})] if plain else []
        found += [self.text(schema)] if "string" in types else []
        found += [self.object(schema, depth)] if "object" in types else []
        found += [self.items(schema, depth)] if "array" in types else []
        return Either(tuple(found)) if found else self.any()

    def items(self, schema: dict[str, Any], depth: int) -> GrammarRule:
        """Return the rule of a list."""
        definitions = {key: schema[key] for key in DEFINITIONS if key in schema}
        inner = schema.get("items")
        item = self.value(resolved(inner, definitions) | definitions if isinstance(inner, dict) else None, depth + 1)
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return Literal("[]")
        further = Repeat(sequence(",", item), max(least - 1, 0), None if most is None else most - 1)
        return sequence("[", sequence(item, further) if least else optional(sequence(item, further)), "]")

    def text(self, schema: dict[str, Any]) -> GrammarRule:
        """Return the rule of a string."""
        return sequence(self.mark, Until(self.mark, limits(schema)))

    def any(self) -> GrammarRule:
        """Return the rule of a scalar of any type."""
        return Either((self.text({}), Json({"type": list(PLAIN)})))


def gemma_calls(start: str, end: str, mark: str) -> CallSyntax:
    """Return the syntax of calls between `start` and `end` whose strings stand between `mark`."""
    return CallSyntax(start, each(GemmaValue(mark).call, after=end), between="")
