"""MiniCPM 5: `<function name="NAME"><param name="KEY">VALUE</param></function>`, with CDATA around some values."""

from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import Either, GrammarRule, Until, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.invokes import attributes
from lmx_daemon.engines.mlx.text.families.marked_values import arguments
from lmx_daemon.engines.mlx.text.families.marked_values import value as marked_value
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait
from lmx_daemon.engines.mlx.text.families.typed import arguments_text, properties_of, typed

START, END = "<function name=", "</function>"
PARAMETER, PARAMETER_END = "<param ", "</param>"
CDATA, CDATA_END = "<![CDATA[", "]]>"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read a call behind `<function name=`."""
    name, _ = yield from source.until((">",), most=256)
    name = name.strip().strip("\"'")
    schemas, values = properties_of(tools, name), dict[str, Any]()
    while True:
        yield from source.space()
        if not (yield from source.accept(PARAMETER)):
            break
        key = (yield from attributes(source)).get("name", "")
        values[key] = typed((yield from value(source)), schemas.get(key))
    if not (yield from source.accept(END)):
        if not (yield from source.at_end()):
            raise NotACall("a call without its end")
        source.need_end()
    source.call(name, arguments_text(values))
    return None


def value(source: CallSource) -> Wait[str]:
    """Read a value and its end marker."""
    yield from source.space()
    if not (yield from source.accept(CDATA)):
        text, _ = yield from source.until((PARAMETER_END,))
        return text.strip()
    text, _ = yield from source.until((CDATA_END,))
    yield from source.until((PARAMETER_END,))
    return text


def written(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call behind `<function name=`. A text with "<" stands in CDATA."""

    def argument(key: GrammarRule, schema: Any) -> GrammarRule:
        text = Until(f"{CDATA_END}{PARAMETER_END}"), Until(PARAMETER_END, "[^<\\s](?:[^<]*[^<\\s])?")
        free = marked_value(schema, PARAMETER_END) == Until(PARAMETER_END)
        inner = Either((sequence(CDATA, text[0]), text[1])) if free else marked_value(schema, PARAMETER_END)
        return sequence(f'{PARAMETER}name="', key, '">', inner)

    return sequence(f'"{tool.name}">', arguments(tool, argument), END)


MINICPM5 = Family("minicpm5", (Envelope(START, read, END),), syntaxes=(CallSyntax(START, each(written), between=""),))
