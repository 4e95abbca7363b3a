"""Families whose calls are a JSON list behind a marker, each with markers of its own.

Granite (`<|tool_call|>`, `<tool_call>`), Phi-4 mini (`<|tool_call|>` to `<|/tool_call|>`), Nemotron (`<TOOLCALL>`),
Apriel (`<tool_calls>`), Firefunction (`functools`), xLAM (a list alone, or in a fence).
"""

from lmx_daemon.engines.mlx.text.families.call_syntax import CallSyntax, each, json_list, json_object
from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.hermes import CALLS, SYNTAX
from lmx_daemon.engines.mlx.text.families.json_calls import calls, enclosed
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource


def between(start: str, end: str) -> Envelope:
    """Return an envelope of JSON calls up to the marker `end`."""

    def read(source: CallSource, tools: Tools) -> CallReading:
        return (yield from enclosed(source, calls(source), (end,)))

    return Envelope(start, read, end)


def behind_marker(start: str) -> Envelope:
    """Return an envelope of JSON calls that ends with them."""
    return Envelope(start, alone)


def alone(source: CallSource, tools: Tools) -> CallReading:
    """Read calls without markers."""
    yield from calls(source)
    return None


def listed(start: str, end: str = "") -> CallSyntax:
    """Return the syntax of a JSON list of calls behind the marker `start`."""
    return CallSyntax(start, json_list(json_object(), after=end))


BARE = Envelope("", alone)
GRANITE = Family(
    "granite",
    (behind_marker("<|tool_call|>"), behind_marker("<tool_call>")),
    syntaxes=(listed("<|tool_call|>"), listed("<tool_call>")),
)
PHI4 = Family(
    "phi4", (between("<|tool_call|>", "<|/tool_call|>"),), syntaxes=(listed("<|tool_call|>", "<|/tool_call|>"),)
)
NEMOTRON = Family("nemotron", (between("<TOOLCALL>", "</TOOLCALL>"),), syntaxes=(listed("<TOOLCALL>", "</TOOLCALL>"),))
APRIEL = Family(
    "apriel", (between("<tool_calls>", "</tool_calls>"), CALLS), syntaxes=(listed("<tool_calls>", "</tool_calls>"),)
)
FIREFUNCTION = Family(
    "firefunction",
    (behind_marker("functools"),),
    syntaxes=(CallSyntax("functools[", each(json_object(), ", ", after="]"), mark="functools"),),
)
XLAM = Family(
    "xlam",
    (CALLS, between("[TOOL_CALLS]", "[/TOOL_CALLS]"), between("```json", "```")),
    bare=BARE,
    syntaxes=(listed(""), SYNTAX),
)
