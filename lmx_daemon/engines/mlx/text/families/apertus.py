"""Apertus: `<|tools_prefix|>[{"NAME": {…}}]<|tools_suffix|>`, and thinking between other markers."""

import json

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Json, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, json_list
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import enclosed
from lmx_daemon.engines.mlx.text.families.named import arguments
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, Wait

START, END = "<|tools_prefix|>", "<|tools_suffix|>"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read the calls of one envelope."""
    return (yield from enclosed(source, entries(source), (END,)))


def entries(source: CallSource) -> Wait[None]:
    """Read a list of objects, each with a name as its key and arguments as its value."""
    yield from source.space()
    yield from source.expect("[")
    while True:
        yield from source.space()
        yield from source.expect("{")
        yield from source.space()
        name = yield from source.string()
        yield from source.space()
        yield from source.expect(":")
        yield from arguments(source, name)
        yield from source.space()
        yield from source.expect("}")
        yield from source.space()
        if not (yield from source.accept(",")):
            return


def keyed(tool: CalledTool) -> GrammarRule:
    """Return the rule of an entry of the list."""
    return sequence(f"{{{json.dumps(tool.name, ensure_ascii=False)}: ", Json(tool.schema), "}")


APERTUS = Family(
    "apertus",
    (Envelope(START, read, END),),
    think=("<|inner_prefix|>", "<|inner_suffix|>"),
    syntaxes=(CallSyntax(START, json_list(keyed, after=END)),),
)
