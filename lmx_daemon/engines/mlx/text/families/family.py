"""What the parser has to know of a model family: its markers, and the readers of what stands behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource

Tools = Sequence[dict[str, Any]]
"""Tools of the request, as templates read them."""
Reader = Callable[[CallSource, Tools], CallReading]
State = Literal["content", "reasoning"]


@dataclass(frozen=True)
class Envelope:
    """A place in an answer that is neither content nor reasoning: tool calls, or the header of a message."""

    start: str
    """Marker that opens it; "" for one that opens without a marker."""
    read: Reader
    end: str = ""
    """Marker at which an envelope without a call ends; "" where only its start becomes text."""
    calls: bool = True
    """Whether it contains tool calls. Such an envelope is text in answers to requests without tools."""


@dataclass(frozen=True)
class Family:
    """How the models of one family write their answers."""

    name: str
    envelopes: tuple[Envelope, ...] = ()
    bare: Envelope | None = None
    """Envelope that is tried where an answer begins with "{" or "["."""
    opening: Envelope | None = None
    """Envelope in which each answer begins."""
    think: tuple[str, str] | None = None
    """Markers of thinking, where the tokenizer does not state them."""
    dropped: tuple[str, ...] = ()
    """Markers that are removed from content."""
    json_calls: bool = False
    """Whether its first envelope may contain a JSON object with "name" and "arguments"."""
    write: Callable[[str, dict[str, Any]], str] | None = None
    """Text of a call with a name and arguments, for templates that do not render calls."""


PLAIN = Family("plain")
