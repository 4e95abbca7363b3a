"""MiniMax M2, DeepSeek V3.2 and V4, Muse Spark: `<invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke>`.

DeepSeek states for each value whether it is a string. Others are typed by the tool's schema.
"""

import re
from dataclasses import replace
from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import behind
from lmx_daemon.engines.mlx.text.families.marked_values import arguments, is_text, value
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait
from lmx_daemon.engines.mlx.text.families.typed import arguments_text, properties_of, typed, types_of, untyped

ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>]+))")
LONGEST_HEADER = 1024


def invokes(start: str, end: str, prefix: str = "", states_type: bool = False) -> tuple[Envelope, CallSyntax]:
    """Return the envelope between `start` and `end`, and its syntax; the markers inside of it begin with `prefix`.

    `states_type`: each value states whether it is a string.
    """
    invoke, invoke_end = f"<{prefix}invoke", f"</{prefix}invoke>"
    parameter, parameter_end = f"<{prefix}parameter", f"</{prefix}parameter>"

    def read(source: CallSource, tools: Tools) -> CallReading:
        while True:
            yield from source.space()
            if not (yield from source.accept(invoke)):
                break
            yield from one(source, tools)
        if not source.begun:
            raise NotACall("no call")
        yield from behind(source, (end,))
        return None

    def one(source: CallSource, tools: Tools) -> Wait[None]:
        name = (yield from attributes(source)).get("name", "")
        schemas, values = properties_of(tools, name), dict[str, Any]()
        while True:
            yield from source.space()
            if not (yield from source.accept(parameter)):
                break
            stated = yield from attributes(source)
            text, _ = yield from source.until((parameter_end,))
            key = stated.get("name", "")
            values[key] = value_of(text, stated.get("string"), schemas.get(key))
        if not (yield from source.accept(invoke_end)):
            if not (yield from source.at_end()):
                raise NotACall("a call without its end")
            source.need_end()
        source.call(name, arguments_text(values))

    def syntax(tool: CalledTool) -> GrammarRule:
        def one(name: GrammarRule, schema: Any) -> GrammarRule:
            stated = f' string="{"true" if is_text(schema) else "false"}"' if states_type else ""
            return sequence(f'{parameter} name="', name, f'"{stated}>', value(schema, parameter_end), "\n")

        return sequence(f'{invoke} name="{tool.name}">\n', arguments(tool, one), f"{invoke_end}\n")

    return Envelope(start, read, end), CallSyntax(start, each(syntax, "", before="\n", after=end))


def attributes(source: CallSource) -> Wait[dict[str, str]]:
    """Read the attributes of a marker up to its `>`."""
    text, _ = yield from source.until((">",), most=LONGEST_HEADER)
    return {m[1]: next((group for group in m.groups()[1:] if group is not None), "") for m in ATTRIBUTE.finditer(text)}


def value_of(text: str, is_string: str | None, schema: Any) -> Any:
    """Return the value of a parameter."""
    if is_string == "true":
        return text
    if is_string == "false":
        return untyped(text)
    bare = text.removeprefix("\n").removesuffix("\n")
    return typed(bare, schema) if types_of(schema) else untyped(bare)


THINK = ("<think>", "</think>")
MINIMAX, MINIMAX_SYNTAX = invokes("<minimax:tool_call>", "</minimax:tool_call>")
V32, V32_SYNTAX = invokes("<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "｜DSML｜", states_type=True)
V4, V4_SYNTAX = invokes("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", "｜DSML｜", states_type=True)
MINIMAX_M2 = Family("minimax_m2", (MINIMAX,), think=THINK, syntaxes=(MINIMAX_SYNTAX,))
DEEPSEEK_DSML = Family(
    "deepseek_dsml",
    (V32, V4),
    think=THINK,
    syntaxes=(V32_SYNTAX, replace(V4_SYNTAX, mark="tool_calls>")),
)
