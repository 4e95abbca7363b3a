"""MiniMax M2, DeepSeek V3.2 and V4, Muse Spark: `<invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke>`.

DeepSeek states for each value whether it is a string. Others are typed by the tool's schema.
"""

import re
from typing import Any

from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import behind
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait
from lmx_daemon.engines.mlx.text.families.typed import arguments_text, properties_of, typed, types_of, untyped

ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>]+))")
LONGEST_HEADER = 1024


def invokes(start: str, end: str, prefix: str = "") -> Envelope:
    """Return the envelope between `start` and `end`; the markers inside of it begin with `prefix`."""
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

    return Envelope(start, read, end)


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
MINIMAX_M2 = Family("minimax_m2", (invokes("<minimax:tool_call>", "</minimax:tool_call>"),), think=THINK)
DEEPSEEK_DSML = Family(
    "deepseek_dsml",
    (
        invokes("<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "｜DSML｜"),
        invokes("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", "｜DSML｜"),
    ),
    think=THINK,
)
