"""Kimi K3: a section of calls whose arguments are typed one by one, or one JSON object."""

import html
from typing import Any

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule, Pattern, Until, optional, sequence
from lmx_daemon.engines.mlx.text.families.call_syntax import CalledTool, CallSyntax, each
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Frame, Tools
from lmx_daemon.engines.mlx.text.families.invokes import ATTRIBUTE
from lmx_daemon.engines.mlx.text.families.json_calls import behind
from lmx_daemon.engines.mlx.text.families.marked_values import arguments, is_text, value
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait, decoded
from lmx_daemon.engines.mlx.text.families.typed import arguments_text, types_of, untyped

SEPARATOR = "<|sep|>"
SECTION, SECTION_END = "<|open|>tools<|sep|>", "<|close|>tools<|sep|>"
CALL, CALL_END = "<|open|>call", "<|close|>call<|sep|>"
ARGUMENT, ARGUMENT_END = "<|open|>argument", "<|close|>argument<|sep|>"
OBJECT, OBJECT_END = "<|open|>json", "<|close|>json<|sep|>"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read all calls of a section."""
    while True:
        yield from source.space()
        if not (yield from source.accept(CALL)):
            break
        yield from one(source)
    if not source.begun:
        raise NotACall("no call")
    yield from behind(source, (SECTION_END,))
    return None


def one(source: CallSource) -> Wait[None]:
    """Read one call behind its marker."""
    name = (yield from attributes(source)).get("tool", "")
    values: dict[str, Any] = {}
    while True:
        yield from source.space()
        marker = yield from source.accept(ARGUMENT, OBJECT, CALL_END)
        if marker is None:
            if not (yield from source.at_end()):
                raise NotACall("a call without its end")
            source.need_end()
            break
        if marker == CALL_END:
            break
        stated = yield from attributes(source)
        text, _ = yield from source.until((ARGUMENT_END if marker == ARGUMENT else OBJECT_END,))
        if marker == ARGUMENT:
            values[stated.get("key", "")] = text if stated.get("type", "string") == "string" else untyped(text)
            continue
        found = decoded(text)
        if not isinstance(found, dict):
            raise NotACall("arguments that are not an object")
        values |= found
    source.call(name, arguments_text(values))


def attributes(source: CallSource) -> Wait[dict[str, str]]:
    """Read the attributes of a marker up to its separator."""
    text, _ = yield from source.until((SEPARATOR,), most=1024)
    return {found[1]: html.unescape(found[2] or "") for found in ATTRIBUTE.finditer(text)}


def written(tool: CalledTool) -> GrammarRule:
    """Return the rule of a call of a section."""

    def argument(key: GrammarRule, schema: Any) -> GrammarRule:
        kind = "string" if is_text(schema) else min(types_of(schema) - {"null"}, default="null")
        return sequence(f'{ARGUMENT} key="', key, f'" type="{kind}"{SEPARATOR}', value(schema, ARGUMENT_END))

    header = sequence(f'{CALL} tool="{html.escape(tool.name)}" index="', Pattern("[0-9]{1,3}"), f'"{SEPARATOR}')
    return sequence(header, arguments(tool, argument), CALL_END)


THINK, THINK_END = "<|open|>think<|sep|>", "<|close|>think<|sep|>"
RESPONSE, RESPONSE_END = "<|open|>response<|sep|>", "<|close|>response<|sep|>"
THOUGHT, TEXT = sequence(THINK, Until(THINK_END)), sequence(RESPONSE, Until(RESPONSE_END))
KIMI_K3 = Family(
    "kimi_k3",
    (Envelope(SECTION, read, SECTION_END),),
    think=(THINK, THINK_END),
    syntaxes=(CallSyntax(SECTION, each(written, "", after=SECTION_END)),),
    dropped=(RESPONSE, RESPONSE_END, "<|close|>message<|sep|>"),
    frame=Frame(
        call=lambda call: sequence(optional(THOUGHT), call),
        text=lambda text: sequence(optional(THOUGHT), RESPONSE, text, RESPONSE_END),
        any=lambda call: sequence(optional(THOUGHT), optional(TEXT), optional(call)),
    ),
)
