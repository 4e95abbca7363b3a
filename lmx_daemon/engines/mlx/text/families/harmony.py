"""gpt-oss, the harmony format: messages with headers of a channel and perhaps a recipient.

`<|channel|>analysis<|message|>` is reasoning, "final" and "commentary" are content. A message to `functions.NAME` is a
call; its recipient stands in front of the channel or behind it.
"""

import re
from collections.abc import Callable

from lmx_daemon.engines.mlx.grammar.rules import AnyText, Either, GrammarRule, Json, Literal, Repeat, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Frame, Thought, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import as_arguments
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, EndOfText, NotACall, Wait

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>")
RECIPIENT = re.compile(r"\bto=([\w.:/-]+)")
LONGEST_HEADER = 512


def opening(source: CallSource, tools: Tools) -> CallReading:
    """Read the header with which an answer begins, behind the prompt's own `<|start|>assistant`."""
    if not (begun := (yield from source.accept(CHANNEL, " to=", START))):
        raise NotACall("no header")
    if begun == " to=":
        source.put_back(begun)
    return (yield from header(source, tools))


def header(source: CallSource, tools: Tools) -> CallReading:
    """Read a header, and the arguments if it is the header of a call."""
    text, _ = yield from source.until((MESSAGE,), most=LONGEST_HEADER)
    recipient = RECIPIENT.search(text)
    if recipient is not None and recipient[1] not in ("user", "assistant"):
        yield from call(source, recipient[1].removeprefix("functions."))
        return "content"
    return "reasoning" if "analysis" in text else "content"


def opened_channel(source: CallSource, tools: Tools) -> CallReading:
    """Read a header behind `<|channel|>`."""
    return (yield from header(source, tools))


def call(source: CallSource, name: str) -> Wait[None]:
    """Read the arguments of a call up to the end of its message."""
    yield from source.space()
    if (yield from source.at_end()):
        raise EndOfText
    if (yield from source.peek()) == "{":
        source.begin(name)
        yield from source.value(write=True)
        source.close()
        yield from ended(source)
        return
    text = yield from ended(source)
    source.call(name, as_arguments(text) if text.strip().startswith('"') else text)


def ended(source: CallSource) -> Wait[str]:
    """Take the rest of a message and its end. The call is the last of its turn, and the end may stop the answer."""
    text, _ = yield from source.until((*ENDS, START), or_end=True)
    return text


def addressed(end: str) -> Callable[[CalledTool], GrammarRule]:
    """Return the rule of a call behind `to=functions.`, whose header ends with `end`."""
    return lambda tool: sequence(f"{tool.name}{end}", Json(tool.schema))


NEXT = f"{START}assistant"
ANALYSIS, NOTE, FINAL = (f"{CHANNEL}{name}{MESSAGE}" for name in ("analysis", "commentary", "final"))


def answer(last: GrammarRule, *before: str) -> GrammarRule:
    """Return the rule of an answer: messages with the headers `before`, then the `last` one."""
    header = Either(tuple(map(Literal, before)))
    return sequence(Repeat(sequence(header, AnyText(), f"{ENDS[0]}{NEXT}")), last)


HARMONY = Family(
    "harmony",
    (
        Envelope(START, header, calls=False),
        Envelope(CHANNEL, opened_channel, calls=False),
    ),
    opening=Envelope("", opening, calls=False),
    dropped=ENDS,
    thought=Thought(ANALYSIS, ENDS[0], NEXT),
    syntaxes=(
        CallSyntax(f"{CHANNEL}commentary to=functions.", each(addressed(f" <|constrain|>json{MESSAGE}")), mark=CHANNEL),
        CallSyntax(" to=functions.", each(addressed(f"{CHANNEL}commentary json{MESSAGE}")), mark=CHANNEL),
    ),
    frame=Frame(
        call=lambda call: answer(call, ANALYSIS),
        text=lambda text: answer(sequence(FINAL, text), ANALYSIS),
        any=lambda call: answer(Either((call, sequence(FINAL, AnyText()))), ANALYSIS, NOTE),
    ),
)
