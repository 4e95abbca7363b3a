"""Families whose calls are a JSON list behind a marker, each with markers of its own.

Granite (`<|tool_call|>`, `<tool_call>`), Phi-4 mini (`<|tool_call|>` to `<|/tool_call|>`), Nemotron (`<TOOLCALL>`),
Apriel (`<tool_calls>`), Firefunction (`functools`), xLAM (a list alone, or in a fence).
"""

from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.hermes import CALLS
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


BARE = Envelope("", alone)
GRANITE = Family("granite", (behind_marker("<|tool_call|>"), behind_marker("<tool_call>")), json_calls=True)
PHI4 = Family("phi4", (between("<|tool_call|>", "<|/tool_call|>"),), json_calls=True)
NEMOTRON = Family("nemotron", (between("<TOOLCALL>", "</TOOLCALL>"),), json_calls=True)
APRIEL = Family("apriel", (between("<tool_calls>", "</tool_calls>"), CALLS), json_calls=True)
FIREFUNCTION = Family("firefunction", (behind_marker("functools"),), json_calls=True)
XLAM = Family(
    "xlam", (CALLS, between("[TOOL_CALLS]", "[/TOOL_CALLS]"), between("```json", "```")), bare=BARE, json_calls=True
)
