"""Calls whose name stands in a header and whose arguments are JSON behind it; Functionary's families.

Functionary 3.1 and Llama's custom calls write `<function=NAME>{…}</function>`, Functionary 3.2 `>>>NAME`, a line break.
"""

import re
from collections.abc import Callable

from lmx_daemon.engines.mlx.grammar.rules import AnyText, Either, GrammarRule, Json, Repeat, Until, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Frame, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import enclosed
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait

NAME = re.compile(r"\s*([\w.:/-]{1,128})\s*")
LONGEST_NAME = 128


def arguments(source: CallSource, name: str, identity: str | None = None) -> Wait[None]:
    """Read the JSON arguments of a call. Raises NotACall for anything but an object."""
    yield from source.space()
    if (yield from source.peek()) != "{":
        raise NotACall("arguments that are not an object")
    source.begin(name, identity)
    yield from source.value(write=True)
    source.close()


def function(source: CallSource, tools: Tools) -> CallReading:
    """Read the rest of `<function=NAME>{…}</function>`."""
    name, _ = yield from source.until((">",), most=LONGEST_NAME)
    return (yield from enclosed(source, arguments(source, name), ("</function>",)))


def recipient(source: CallSource, tools: Tools) -> CallReading:
    """Read `NAME` and a line break, then arguments; "all" is the user, whose text is content."""
    name, _ = yield from source.until(("\n",), most=LONGEST_NAME)
    if name.strip() == "all":
        return "content"
    yield from arguments(source, name)
    return None


def first_recipient(source: CallSource, tools: Tools) -> CallReading:
    """Read the recipient with which an answer begins, behind the prompt's own `>>>`."""
    known = {"all", *(tool["function"]["name"] for tool in tools)}
    name, _ = yield from source.until(("\n",), most=LONGEST_NAME)
    if name.strip() not in known:
        raise NotACall("no recipient")
    if name.strip() == "all":
        return "content"
    yield from arguments(source, name)
    return None


def called(end: str) -> Callable[[CalledTool], GrammarRule]:
    """Return the rule of a name, the text `end` and arguments."""
    return lambda tool: sequence(f"{tool.name}{end}", Json(tool.schema))


def recipients(call: GrammarRule) -> GrammarRule:
    """Return the rule of an answer to a named recipient or to the user, in which other recipients may follow."""
    further = sequence(Until(">>>"), call)
    return Either((call, sequence("all\n", Repeat(further), AnyText())))


FUNCTION = Envelope("<function=", function, "</function>")
FUNCTION_SYNTAX = CallSyntax("<function=", each(called(">"), after="</function>"), between="")
FUNCTIONARY_31 = Family("functionary31", (FUNCTION,), syntaxes=(FUNCTION_SYNTAX,))
FUNCTIONARY_32 = Family(
    "functionary32",
    (Envelope(">>>", recipient),),
    opening=Envelope("", first_recipient, calls=False),
    syntaxes=(CallSyntax("", each(called("\n")), between="", again=">>>"),),
    frame=Frame(call=lambda call: call, text=lambda text: sequence("all\n", text), any=recipients),
)
