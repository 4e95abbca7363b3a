"""Qwen3-Coder, Qwen3.5, Step 3.5, Nemotron 3, Seed-OSS: `<function=NAME><parameter=KEY>VALUE</parameter></function>`.

Some models leave the envelope around it out. Values are text, typed by the tool's schema.
"""

import re
from collections.abc import Callable
from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import behind, calls, enclosed
from lmx_daemon.engines.mlx.text.families.marked_values import arguments
from lmx_daemon.engines.mlx.text.families.marked_values import value as marked_value
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait
from lmx_daemon.engines.mlx.text.families.typed import arguments_text, properties_of, typed

FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
ENVELOPE_ENDS = ("</tool_call>", "</seed:tool_call>")
LONGEST_NAME = 256
NEXT = re.compile(r"(\s{0,64})(?=<parameter=|</function>|</tool_call>|</seed:tool_call>)")
NEXT_BEGUN = re.compile(r"\s{0,64}(?:<(?:p\w{0,8}=?|/(?:\w|:){0,14})?)?\Z")
AFTER = re.compile(r"\s{0,64}</tool_call>")
AFTER_BEGUN = re.compile(r"\s{0,64}(?:<(?:/(?:\w){0,9})?)?\Z")


def function(source: CallSource, tools: Tools) -> Wait[None]:
    """Read a function behind its `<function=`."""
    name, _ = yield from source.until((">",), most=LONGEST_NAME)
    schemas, values = properties_of(tools, name.strip()), dict[str, Any]()
    while True:
        yield from source.space()
        if not (yield from source.accept(PARAMETER)):
            break
        key, _ = yield from source.until((">",), most=LONGEST_NAME)
        values[key.strip()] = typed(_trimmed((yield from value(source))), schemas.get(key.strip()))
    yield from close(source)
    source.call(name, arguments_text(values))


def close(source: CallSource) -> Wait[None]:
    """Take the end of a function. That of the envelope, or of the answer, may stand for it."""
    found = yield from source.accept(FUNCTION_END, *ENVELOPE_ENDS)
    if found in ENVELOPE_ENDS:
        source.put_back(str(found))
    elif found is None:
        if not (yield from source.at_end()):
            raise NotACall("a function without its end")
        source.need_end()


def value(source: CallSource) -> Wait[str]:
    """Read a value and its end. The end marker counts where something of the format follows it."""
    parts: list[str] = []
    while True:
        text, marker = yield from source.until((PARAMETER_END, FUNCTION_END))
        parts.append(text)
        if marker == FUNCTION_END:  # the end of the parameter is missing
            source.put_back(FUNCTION_END)
            return "".join(parts)
        if (yield from source.match(NEXT, NEXT_BEGUN)) is not None or (yield from source.at_end()):
            return "".join(parts)
        parts.append(marker)


def _trimmed(text: str) -> str:
    return text.removeprefix("\n").removesuffix("\n")


def functions(source: CallSource, tools: Tools) -> Wait[None]:
    """Read the functions of an envelope."""
    while True:
        yield from source.space()
        if not (yield from source.accept(FUNCTION)):
            break
        yield from function(source, tools)
    if not source.begun:
        raise NotACall("no function")


def enveloped(start: str, end: str) -> Envelope:
    """Return an envelope of functions, in which JSON is read as well."""

    def read(source: CallSource, tools: Tools) -> CallReading:
        yield from source.space()
        if (yield from source.peek()) == "{":
            return (yield from enclosed(source, calls(source), (end,)))
        yield from functions(source, tools)
        yield from behind(source, (end,))
        return None

    return Envelope(start, read, end)


def naked(source: CallSource, tools: Tools) -> CallReading:
    """Read a function without its envelope, whose end may stand there all the same."""
    yield from function(source, tools)
    yield from source.match(AFTER, AFTER_BEGUN)
    return None


def written(line: str) -> Callable[[CalledTool], GrammarRule]:
    """Return the rule of a function behind `<function=`, with `line` before and after each value."""

    def argument(key: GrammarRule, schema: Any) -> GrammarRule:
        return sequence(PARAMETER, key, f">{line}", marked_value(schema, f"{line}{PARAMETER_END}"), "\n")

    return lambda tool: sequence(f"{tool.name}>\n", arguments(tool, argument), FUNCTION_END)


def syntaxes(start: str, end: str, line: str) -> tuple[CallSyntax, ...]:
    """Return the syntax with its envelope, and without."""
    enveloped = each(written(line), before=f"\n{FUNCTION}", after=f"\n{end}")
    return CallSyntax(start, enveloped, between="\n"), CallSyntax(FUNCTION, each(written(line)), between="\n")


BARE = Envelope(FUNCTION, naked, FUNCTION_END)
QWEN3_CODER = Family(
    "qwen3_coder",
    (enveloped("<tool_call>", "</tool_call>"), BARE),
    syntaxes=syntaxes("<tool_call>", "</tool_call>", "\n"),
)
SEED = Family(
    "seed_oss",
    (enveloped("<seed:tool_call>", "</seed:tool_call>"), BARE),
    think=("<seed:think>", "</seed:think>"),
    syntaxes=syntaxes("<seed:tool_call>", "</seed:tool_call>", ""),
)
