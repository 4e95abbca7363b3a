"""Hermes, Qwen 2.5 and 3, SmolLM3, MiMo and others: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

Templates that do not render tools get the same form described, so that it is read for every family.
"""

import json
from typing import Any

from lmx_daemon.engines.mlx.text.families.call_syntax import CallSyntax, each, json_object
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.json_calls import calls, enclosed
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource

START, END = "<tool_call>", "</tool_call>"


def read(source: CallSource, tools: Tools) -> CallReading:
    """Read the calls of one envelope."""
    return (yield from enclosed(source, calls(source), (END,)))


def write(name: str, arguments: dict[str, Any]) -> str:
    """Return the text of a call."""
    return f"{START}\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n{END}"


CALLS = Envelope(START, read, END)
SYNTAX = CallSyntax(START, each(json_object(), before="\n", after=f"\n{END}"), between="\n")
HERMES = Family("json_tools", (CALLS,), write=write, syntaxes=(SYNTAX,))
