"""Mistral: `[TOOL_CALLS]` with a JSON list, or from version 11 on with a name, perhaps an id, and arguments."""

import json
import re

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Json, Pattern, optional, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each, json_list
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import calls
from lmx_daemon.engines.mlx.text.families.named import arguments
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall

START = "[TOOL_CALLS]"
WORD = r"[\w.-]{1,128}"
HEADER = re.compile(rf"\s{{0,32}}(?:\[TOOL_CALLS\])?\s{{0,32}}({WORD})\s?(?:\[CALL_ID\]\s?({WORD})\s?)?\[ARGS\]")
_ARGS = r"(?:\[(?:A(?:R(?:G(?:S)?)?)?)?)?"
_ID = r"\[(?:C(?:A(?:L(?:L(?:_(?:I(?:D)?)?)?)?)?)?)?"
_START = r"\[(?:T(?:O(?:O(?:L(?:_(?:C(?:A(?:L(?:L(?:S)?)?)?)?)?)?)?)?)?)?"
HEADER_BEGUN = re.compile(
    rf"\s{{0,32}}(?:{_START}|(?:\[TOOL_CALLS\])?\s{{0,32}}(?:{WORD}\s?)?"
    rf"(?:{_ARGS}|{_ID}|\[CALL_ID\]\s?(?:{WORD}\s?)?{_ARGS}))\Z"
)
"""Beginnings of a header. Each part is bounded, so that a text is read again only a bounded number of times."""


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read calls behind the first marker."""
    yield from source.space()
    if (yield from source.peek()) in "[{":
        yield from calls(source, late_ids=True)
        return None
    while header := (yield from source.match(HEADER, HEADER_BEGUN)):
        yield from arguments(source, header[1], header[2])
    if not source.begun:
        raise NotACall("no name")
    return None


def headed(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call as version 11 and later write it."""
    identity = optional(sequence("[CALL_ID]", Pattern("[a-zA-Z0-9]{9}")))
    return sequence(tool.name, identity, "[ARGS]", Json(tool.schema))


def with_id(tool: CalledTool) -> GrammarRule:
    """Return the rule of an entry of the list that older versions write."""
    name = json.dumps(tool.name, ensure_ascii=False)
    identity = optional(sequence(', "id": "', Pattern("[a-zA-Z0-9]{9}"), '"'))
    return sequence(f'{{"name": {name}, "arguments": ', Json(tool.schema), identity, "}")


MISTRAL = Family(
    "mistral",
    (Envelope(START, read),),
    think=("[THINK]", "[/THINK]"),
    syntaxes=(
        CallSyntax(START, each(headed), between="", mark="[ARGS]"),
        CallSyntax(START, json_list(with_id)),
    ),
)
