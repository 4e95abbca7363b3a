"""Command R: `<|START_ACTION|>` with a list of calls; Command R+ 2024: `Action:` with a fenced list."""

import json

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Json, Pattern, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, json_list
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_lists import between
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, decoded
from lmx_daemon.engines.mlx.text.families.typed import arguments_text

ACTION, FENCE = "Action:", "```"
ANSWERS = ("directly_answer", "directly-answer")
"""Names of the tool that stands for an answer without a tool."""


def numbered(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call with the number that results refer to."""
    return sequence('{"tool_call_id": "', Pattern("[0-9]{1,2}"), '", ', named(tool))


def named(tool: CalledTool) -> GrammarRule:
    """Return the rule of the rest of a call."""
    name = json.dumps(tool.name, ensure_ascii=False)
    return sequence(f'"tool_name": {name}, "parameters": ', Json(tool.schema), "}")


COMMAND_R = Family(
    "command_r",
    (between("<|START_ACTION|>", "<|END_ACTION|>"),),
    think=("<|START_THINKING|>", "<|END_THINKING|>"),
    syntaxes=(CallSyntax("<|START_ACTION|>", json_list(numbered, after="<|END_ACTION|>")),),
    dropped=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
)


def action(source: CallSource, tools: Tools) -> CallReading:
    """Read the fenced list behind `Action:`."""
    yield from source.space()
    yield from source.expect(f"{FENCE}json")
    text, _ = yield from source.until((FENCE,), or_end=True)
    entries = decoded(text.strip())
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not isinstance(entry.get("tool_name"), str):
            raise NotACall("no list of actions")
        if entry["tool_name"] not in ANSWERS:
            source.call(entry["tool_name"], arguments_text(entry.get("parameters") or {}))
    return None


COMMAND_R_PLUS = Family(
    "command_r_plus",
    (Envelope(ACTION, action),),
    syntaxes=(
        CallSyntax(
            f"{ACTION}\n{FENCE}json",
            json_list(lambda tool: sequence("{", named(tool)), "\n", f"\n{FENCE}"),
            mark=ACTION,
        ),
    ),
)
