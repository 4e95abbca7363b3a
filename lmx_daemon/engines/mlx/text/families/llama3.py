"""Llama 3.1 to 3.3, and Llama 4: JSON alone or behind `<|python_tag|>`; calls in Python; `<function=…>`."""

from lmx_daemon.engines.mlx.text.families.call_syntax import CallSyntax, each, json_object
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import calls
from lmx_daemon.engines.mlx.text.families.named import FUNCTION, FUNCTION_SYNTAX
from lmx_daemon.engines.mlx.text.families.pythonic import python_calls
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource

PYTHON_TAG = "<|python_tag|>"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read calls as JSON or, in a list of calls, as Python."""
    yield from source.space()
    if (yield from source.peek()) == "{":
        yield from calls(source)
        return None
    return (yield from python_calls(source, tools))


OBJECT = json_object("name", "parameters")
BARE = Envelope("", read)
LLAMA3 = Family(
    "llama3",
    (Envelope(PYTHON_TAG, read), FUNCTION, Envelope("<|python_start|>", read)),
    bare=BARE,
    syntaxes=(
        CallSyntax("", each(OBJECT, "; ")),
        CallSyntax(PYTHON_TAG, each(OBJECT, "; ")),
        CallSyntax("<|python_start|>", each(OBJECT, "; ")),
        FUNCTION_SYNTAX,
    ),
)
