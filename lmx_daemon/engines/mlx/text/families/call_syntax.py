"""How the models of a family write calls, as rules of a grammar: the counterpart of the family's reader.

A syntax begins with the text that opens its calls. What follows is made of the tools that may be called.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import Either, GrammarRule, Json, Repeat, sequence


@dataclass(frozen=True)
class CalledTool:
    """A tool that may be called, and the schema that the arguments of a call follow."""

    name: str
    schema: dict[str, Any]


Calls = Callable[[Sequence[CalledTool], bool], GrammarRule]
"""Returns the rule of one call of any of the tools or, with True, of one or several calls."""


@dataclass(frozen=True)
class CallSyntax:
    """Form in which a family writes calls."""

    start: str
    """Text that opens calls; "" where they open without a marker, at the beginning of an answer only."""
    calls: Calls
    """Text after `start`."""
    between: str | None = None
    """Text between calls that each have a `start` of their own; None if all calls share one."""
    again: str | None = None
    """Text that opens the second call and later ones, if it is not `start`."""
    mark: str = ""
    """Text of the template that shows this syntax, if `start` does not."""

    def shown_by(self, known: Callable[[str], bool]) -> bool:
        """Return whether a model with these texts in its template, or as added tokens, writes this syntax."""
        text = self.mark or self.start.strip()
        return bool(text) and known(text)

    def answer(self, tools: Sequence[CalledTool], many: bool) -> GrammarRule:
        """Return the rule of an answer that is one call or, with `many`, one or several."""
        if not many or self.between is None:
            return sequence(self.start, self.calls(tools, many))
        one = self.calls(tools, False)
        further = sequence(self.between, self.start if self.again is None else self.again, one)
        return sequence(self.start, one, Repeat(further))


def each(
    one: Callable[[CalledTool], GrammarRule], between: str | None = None, before: str = "", after: str = ""
) -> Calls:
    """Return calls whose rules are made by `one`, between fixed texts.

    `between` stands between two calls; None for calls of which there is one only.
    """

    def calls(tools: Sequence[CalledTool], many: bool) -> GrammarRule:
        single = Either(tuple(map(one, tools)))
        further = (Repeat(sequence(between, single)),) if many and between is not None else ()
        return sequence(before, single, *further, after)

    return calls


def json_object(name: str = "name", arguments: str = "arguments") -> Callable[[CalledTool], GrammarRule]:
    """Return the rule of a call as a JSON object with these keys."""

    def one(tool: CalledTool) -> GrammarRule:
        before = f"{{{json.dumps(name)}: {json.dumps(tool.name, ensure_ascii=False)}, {json.dumps(arguments)}: "
        return sequence(before, Json(tool.schema), "}")

    return one


def json_list(one: Callable[[CalledTool], GrammarRule], before: str = "", after: str = "") -> Calls:
    """Return a JSON list of calls between fixed texts."""
    return each(one, ", ", f"{before}[", f"]{after}")
