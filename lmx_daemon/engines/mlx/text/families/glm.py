"""GLM 4.5 to 5, Laguna, LongCat: `<tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>`."""

import re
from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Literal, optional, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import calls, enclosed
from lmx_daemon.engines.mlx.text.families.marked_values import arguments
from lmx_daemon.engines.mlx.text.families.marked_values import value as value_of
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait
from lmx_daemon.engines.mlx.text.families.typed import arguments_text, properties_of, typed, types_of, untyped

NAME = re.compile(r"[\w.:/-]{1,128}")


def keys_and_values(prefix: str = "") -> tuple[Envelope, CallSyntax]:
    """Return the envelope of a family whose markers begin with `prefix`, and its syntax."""
    start, end = f"<{prefix}tool_call>", f"</{prefix}tool_call>"
    key, key_end = f"<{prefix}arg_key>", f"</{prefix}arg_key>"
    value, value_end = f"<{prefix}arg_value>", f"</{prefix}arg_value>"

    def read(source: CallSource, tools: Tools) -> CallReading:
        yield from source.space()
        if (yield from source.peek()) == "{":
            return (yield from enclosed(source, calls(source), (end,)))
        name, marker = yield from source.until((key, end), or_end=True)
        name = name.strip()
        if NAME.fullmatch(name) is None or (marker != key and not _known(name, tools)):
            raise NotACall("no name of a tool")
        schemas, values = properties_of(tools, name), dict[str, Any]()
        while marker == key:
            argument, _ = yield from source.until((key_end,), most=4096)
            yield from source.space()
            yield from source.expect(value)
            text, _ = yield from source.until((value_end,))
            schema = schemas.get(argument.strip())
            values[argument.strip()] = typed(text, schema) if types_of(schema) else untyped(text)
            marker = yield from following(source)
        source.call(name, arguments_text(values))
        return None

    def syntax(tool: CalledTool) -> GrammarRule:
        def one(name: GrammarRule, schema: Any) -> GrammarRule:
            return sequence(line, key, name, key_end, line, value, value_of(schema, value_end))

        return sequence(tool.name, arguments(tool, one), line, end)

    def following(source: CallSource) -> Wait[str]:
        """Take the marker behind a value: a further key, or the end."""
        yield from source.space()
        if (yield from source.at_end()):
            source.need_end()
            return ""
        return (yield from source.expect(key, end))

    line = optional(Literal("\n"))
    return Envelope(start, read, end), CallSyntax(start, each(syntax), between="\n")


def _known(name: str, tools: Tools) -> bool:
    return any(tool.get("function", {}).get("name") == name for tool in tools)


def family(name: str, prefix: str) -> Family:
    """Return a family whose markers begin with `prefix`."""
    envelope, syntax = keys_and_values(prefix)
    return Family(name, (envelope,), think=(f"<{prefix}think>", f"</{prefix}think>"), syntaxes=(syntax,))


GLM, LONGCAT = family("glm47", ""), family("longcat", "longcat_")
