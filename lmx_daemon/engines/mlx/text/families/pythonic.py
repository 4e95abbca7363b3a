"""Calls in Python: `[f(a="x"), g()]`. LFM2 writes them between markers, Llama 3.2 and 4 alone."""

from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Json, Repeat, optional, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import calls, enclosed
from lmx_daemon.engines.mlx.text.families.literals import Literals
from lmx_daemon.engines.mlx.text.families.marked_values import KEY, separated
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource
from lmx_daemon.engines.mlx.text.families.typed import arguments_text, property_schemas

START, END = "<|tool_call_start|>", "<|tool_call_end|>"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read the calls of one envelope; LFM2 may write JSON there as well."""
    yield from source.space()
    if (yield from source.accept("[{")):
        source.put_back("[{")
        return (yield from enclosed(source, calls(source), (END,)))
    if (yield from source.peek()) == "{":
        return (yield from enclosed(source, calls(source), (END,)))
    text, _ = yield from source.until((END,), or_end=True)
    emit(source, text)
    return None


def python_calls(source: CallSource, tools: Tools) -> CallReading:
    """Read a list of calls without markers."""
    emit(source, (yield from source.python_list()))
    return None


def emit(source: CallSource, text: str) -> None:
    """Emit the calls of a text. Raises NotACall."""
    for name, arguments in Literals(text).calls():
        source.call(name, arguments_text(arguments))


def write(name: str, arguments: dict[str, Any]) -> str:
    """Return the text of a call."""
    inner = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"{START}[{name}({inner})]{END}"


def keywords(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call with keyword arguments, whose values are written as JSON."""
    if "properties" not in tool.schema and tool.schema.get("additionalProperties") is not False:
        pair = sequence(KEY, "=", Json({}))
        return sequence(f"{tool.name}(", optional(sequence(pair, Repeat(sequence(", ", pair)))), ")")
    required = set(tool.schema.get("required") or ())
    given = [
        (key in required, sequence(f"{key}=", Json(schema))) for key, schema in property_schemas(tool.schema).items()
    ]
    return sequence(f"{tool.name}(", *separated(given, ", "), ")")


LFM2 = Family(
    "pythonic",
    (Envelope(START, read, END),),
    write=write,
    syntaxes=(CallSyntax(START, each(keywords, ", ", before="[", after=f"]{END}")),),
)
