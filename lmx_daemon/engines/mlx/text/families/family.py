"""What the parser has to know of a model family: its markers, and the readers of what stands behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmx_daemon.engines.mlx.grammar.rules import GrammarRule
from lmx_daemon.engines.mlx.text.families.call_syntax import CallSyntax
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource

Tools = Sequence[dict[str, Any]]
"""Tools of the request, as templates read them."""
Reader = Callable[[CallSource, Tools], CallReading]
Framed = Callable[[GrammarRule], GrammarRule]
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
class Frame:
    """The rules of a whole answer, thinking included, for families whose answers consist of messages with headers."""

    call: Framed
    """Returns the rule of an answer that has to be a call, by the rule of the call."""
    text: Framed
    """Returns the rule of an answer whose text follows a rule."""
    any: Framed
    """Returns the rule of an answer that may be text, and in which calls follow a rule."""


@dataclass(frozen=True)
class Thought:
    """The markers between which a budget of thinking applies."""

    start: str
    end: str
    closing: str = ""
    """Text behind the end, if the model is made to end its thinking."""


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
    """Markers of thinking, if the tokenizer does not state them."""
    dropped: tuple[str, ...] = ()
    """Markers that are removed from content."""
    syntaxes: tuple[CallSyntax, ...] = ()
    """Ways in which its models write calls. A call that the request demands is written in the first one."""
    frame: Frame | None = None
    """Headers of the messages in an answer, if answers have them."""
    thought: Thought | None = None
    """Markers of thinking, if headers of messages mark it."""
    write: Callable[[str, dict[str, Any]], str] | None = None
    """Text of a call with a name and arguments, for templates that do not render calls."""


PLAIN = Family("plain")
