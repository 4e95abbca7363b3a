"""DeepSeek V3, R1 and V3.1: `<｜tool▁calls▁begin｜>` with calls between markers of their own.

V3 and R1 write the type, the name and a fenced JSON object; V3.1 the name and the object.
"""

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Json, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import behind
from lmx_daemon.engines.mlx.text.families.named import arguments
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, EndOfText, NotACall, Wait

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
FENCE = "```json"
TYPE = "function"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read all calls up to the end marker."""
    while True:
        yield from source.space()
        if not (yield from source.accept(CALL)):
            break
        try:
            yield from one(source)
        except NotACall:
            if not source.begun:
                raise
        try:
            _, marker = yield from source.until((CALL_END, CALLS_END))
        except EndOfText:
            return None
        if marker == CALLS_END:
            return None
    if not source.begun:
        raise NotACall("no call")
    yield from behind(source, (CALLS_END,))
    return None


def one(source: CallSource) -> Wait[None]:
    """Read one call behind its marker."""
    name, _ = yield from source.until((SEPARATOR,), most=256)
    if name.strip() == TYPE:  # V3 and R1
        name, _ = yield from source.until(("\n", FENCE), most=256)
        yield from source.space()
        yield from source.accept(FENCE, "```")
    yield from arguments(source, name)


def bare(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call as V3.1 writes it."""
    return sequence(CALL, tool.name, SEPARATOR, Json(tool.schema), CALL_END)


def fenced(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call as V3 and R1 write it."""
    header = f"{CALL}{TYPE}{SEPARATOR}{tool.name}\n{FENCE}\n"
    return sequence(header, Json(tool.schema), f"\n```{CALL_END}")


DEEPSEEK = Family(
    "deepseek",
    (Envelope(CALLS, read, CALLS_END),),
    think=("<think>", "</think>"),
    syntaxes=(
        CallSyntax(CALLS, each(fenced, "\n", after=CALLS_END), mark=FENCE),
        CallSyntax(CALLS, each(bare, "", after=CALLS_END)),
    ),
)
