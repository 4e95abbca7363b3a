"""Kimi K2: a section of calls, each with an id that contains the name, `functions.NAME:INDEX`, and a JSON object."""

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Json, Pattern, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import behind
from lmx_daemon.engines.mlx.text.families.named import arguments
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, EndOfText, NotACall, Wait

SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, CALL_END, ARGUMENTS = "<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_call_argument_begin|>"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read all calls of a section."""
    while True:
        yield from source.space()
        if not (yield from source.accept(CALL)):
            break
        yield from one(source)
        try:
            _, marker = yield from source.until((CALL_END, SECTION_END))
        except EndOfText:
            return None
        if marker == SECTION_END:
            return None
    if not source.begun:
        raise NotACall("no call")
    yield from behind(source, (SECTION_END,))
    return None


def one(source: CallSource) -> Wait[None]:
    """Read one call behind its marker."""
    identity, _ = yield from source.until((ARGUMENTS,), most=256)
    identity = identity.strip()
    name, colon, _ = identity.removeprefix("functions.").rpartition(":")
    yield from arguments(source, name if colon else identity.removeprefix("functions."), identity if colon else None)


def written(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call of a section."""
    return sequence(f"{CALL}functions.{tool.name}:", Pattern("[0-9]{1,3}"), ARGUMENTS, Json(tool.schema), CALL_END)


KIMI_K2 = Family(
    "kimi_k2",
    (Envelope(SECTION, read, SECTION_END),),
    think=("<think>", "</think>"),
    syntaxes=(CallSyntax(SECTION, each(written, "", after=SECTION_END)),),
)
