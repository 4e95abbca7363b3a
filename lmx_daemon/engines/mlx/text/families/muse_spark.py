"""Muse Spark: one turn holds several messages with headers (`to=self<|message|>…<|eom|>`), calls as `<atem:invoke>`."""

from collections.abc import Sequence

from lmx_daemon.engines.mlx.grammar.rules import AnyText, Either, GrammarRule, Literal, Repeat, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Frame, Thought, Tools
from lmx_daemon.engines.mlx.text.families.invokes import invokes
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall

MESSAGE, END_OF_MESSAGE = "<|message|>", "<|eom|>"
CALLS, SYNTAX = invokes("<atem:function_calls>", "</atem:function_calls>", "atem:")
LONGEST_HEADER = 256


def header(source: CallSource, tools: Tools) -> CallReading:
    """Read a header. A message to a tool is content, in which its calls stand."""
    yield from source.space()
    yield from source.accept("<|start|>")
    yield from source.accept("assistant")
    yield from source.space()
    recipient, _ = yield from source.until((MESSAGE,), most=LONGEST_HEADER)
    if not recipient.strip().startswith("to="):
        raise NotACall("no header")
    return "reasoning" if recipient.strip() == "to=self" else "content"


def addressed(tools: Sequence[CalledTool], many: bool) -> GrammarRule:
    """Return the rule of a message to a tool, which is that of the first call."""
    return Either(tuple(sequence(f" to={tool.name}{MESSAGE}", SYNTAX.answer([tool], many)) for tool in tools))


NEXT = "<|start|>assistant"
THOUGHT = Repeat(sequence(f" to=self{MESSAGE}", AnyText(), f"{END_OF_MESSAGE}{NEXT}"))
CONTENT = sequence(Either((Literal(f" to=user{MESSAGE}"), Literal(f" to=commentary{MESSAGE}"))), AnyText())
MUSE_SPARK = Family(
    "muse_spark",
    (CALLS, Envelope(END_OF_MESSAGE, header, calls=False)),
    opening=Envelope("", header, calls=False),
    dropped=("<|eot|>",),
    thought=Thought(f" to=self{MESSAGE}", END_OF_MESSAGE, NEXT),
    syntaxes=(CallSyntax("", addressed, mark="<atem:function_calls>"),),
    frame=Frame(
        call=lambda call: sequence(THOUGHT, call),
        text=lambda text: sequence(THOUGHT, f" to=user{MESSAGE}", text),
        any=lambda call: sequence(THOUGHT, Repeat(sequence(CONTENT, END_OF_MESSAGE, NEXT)), Either((CONTENT, call))),
    ),
)
