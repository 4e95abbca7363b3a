"""Parser of a model's text as it streams: content, reasoning and tool calls.

It reads markers and stop strings, not tokens. Text that may be the beginning of a marker or a stop string is held back
until that is decided, so any cutting of the same text into pieces gives the same answer.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_lm.generate import TextStateMachine

from lmx_daemon.contract.events import ToolCallDelta
from lmx_daemon.engines.mlx.text.limited_parser import ToolParser
from lmx_daemon.engines.mlx.text.tool_calls import new_id, read_calls, split_rest
from lmx_daemon.engines.mlx.text.whitespace import TextChannel

NONE: frozenset[str] = frozenset()
ANSWER_SECONDS = 0.25
"""Time that the tool calls of one answer may take to parse. Later calls of the answer are emitted as text."""


@dataclass(frozen=True)
class Markers:
    """A model family's markers, as mlx-lm's tokenizer wrapper finds them."""

    think_start: str | None = None
    think_end: str | None = None
    tool_start: str | None = None
    tool_end: str | None = None
    """"" where a call runs to the end of the answer or to the next `tool_start`."""
    tool_parser: ToolParser | None = None
    structural: tuple[str, ...] = ()
    """Markers that are dropped wherever they stand."""
    transitions: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Further (marker, next state) of each state. Text in states other than "normal", "reasoning" and "tool" is
    dropped."""
    initial: str = "normal"
    """State in which an answer begins."""

    def begins(self, text: str) -> bool:
        """Return whether `text` is the beginning of a marker. A single character does not count."""
        further = (marker for found in self.transitions.values() for marker, _ in found)
        markers = (self.think_start, self.think_end, self.tool_start, *self.structural, *further)
        return len(text) > 1 and any(marker.startswith(text) for marker in markers if marker)


@dataclass
class ParsedText:
    """Parts of one piece of text."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCallDelta] = field(default_factory=list)
    ended: bool = False
    """Whether the answer has ended: a stop string matched, or its only call is complete."""
    matched_stop: str | None = None
    warning: str | None = None

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning or self.calls)


class OutputParser:
    """State of one answer. Call `feed` until the end, then `finish`."""

    def __init__(
        self,
        markers: Markers,
        *,
        tools: Sequence[dict[str, Any]] = (),
        stop: Sequence[str] = (),
        thinking: bool = False,
        parallel: bool = True,
    ) -> None:
        """Create the parser of an answer. With `parallel` false the answer ends after its first tool call."""
        self._markers = markers
        self._tools = list(tools)
        self._stop = tuple(stop)
        self._longest_stop = max(map(len, self._stop), default=0)
        self._parallel = parallel
        initial = "reasoning" if thinking else markers.initial
        edges = _edges(markers, bool(tools), self._stop)
        self._firsts = {state: frozenset(marker[0] for marker, _ in found if marker) for state, found in edges.items()}
        """First characters of the markers that end each state."""
        self._state = TextStateMachine(edges).make_state(initial)
        self._call = ""
        self._ids: set[str] = set()
        self._seconds = 0.0
        """Time that the calls so far took to parse."""
        self._seen = ""
        self._content = TextChannel(hold=bool(tools), strip=False)
        self._reasoning = TextChannel(hold=True, strip=True)
        self.stopped = False

    @property
    def thinking(self) -> bool:
        return bool(self._state[0] == "reasoning")

    @property
    def made_calls(self) -> bool:
        return bool(self._ids)

    def feed(self, text: str) -> ParsedText:
        """Parse the next text. Text after the end of the answer is ignored."""
        piece = ParsedText()
        if self.stopped or not text:
            return piece
        if self._stop:
            self._seen = self._seen[-self._longest_stop :] + text
        before, _, _, held = self._state
        if not held and self._firsts.get(before, NONE).isdisjoint(text):  # nearly all text: no marker can begin in it
            self._take(before, text, piece)
            return piece
        self._state, segments = TextStateMachine.split(self._state, text)
        for place, (state, part) in enumerate(segments):
            if state is None or self.stopped:
                break
            if place:
                self._enter(before, state, piece)
            before = state
            if not self.stopped:
                self._take(state, part, piece)
        if self._state[0] is None and not self.stopped:
            self.stopped = True
            rest = self._state[3]
            head = self._seen[: len(self._seen) - len(rest)]
            piece.matched_stop = max((s for s in self._stop if head.endswith(s)), key=len, default=None)
        piece.ended = self.stopped
        return piece

    def finish(self, cut: bool = False) -> ParsedText:
        """Return the text that was held back. `cut`: the answer ended at its limit of tokens."""
        piece = ParsedText()
        if not self.stopped:
            self._state, rest, state = TextStateMachine.flush(self._state)
            if cut and state != "tool" and self._markers.begins(rest):
                self._content.interrupt()
            else:
                self._take(state, rest, piece)
            if state == "tool":
                self._end_in_call(piece, cut)
        if not self.made_calls:
            piece.content += self._content.rest()
        return piece

    def _enter(self, old: str, new: str, piece: ParsedText) -> None:
        if old == "tool":
            self._close_call(piece, new)
        if old != new:
            for state in (old, new):
                if channel := self._channel(state):
                    channel.interrupt()

    def _channel(self, state: str) -> TextChannel | None:
        return {"normal": self._content, "reasoning": self._reasoning}.get(state)

    def _take(self, state: str, text: str, piece: ParsedText) -> None:
        if not text:
            return
        if state == "normal":
            piece.content += self._content.take(text)
        elif state == "reasoning":
            piece.reasoning += self._reasoning.take(text)
        elif state == "tool":
            self._call += text

    def _close_call(self, piece: ParsedText, new: str) -> None:
        """Emit the calls of a complete envelope. An envelope that cannot be parsed is emitted as text."""
        try:
            self._read(piece)
        except Exception as error:  # a model's text may raise anything in a parser
            if new == "tool":  # the next marker may stand in an argument: the calls are read together at the end
                self._call += self._markers.tool_start or ""
                return
            self._show(self._markers.tool_end or "", error, piece)
        self._call = ""

    def _end_in_call(self, piece: ParsedText, cut: bool) -> None:
        """Emit the call in which the answer ended. A call that was cut by the limit is dropped: a part is of no use."""
        if cut and self._markers.tool_end:
            piece.warning = "the answer reached its limit of tokens inside a tool call, which is dropped"
            return
        try:
            self._read(piece)
        except Exception as error:  # see _close_call
            if cut:
                piece.warning = "the answer reached its limit of tokens inside a tool call, which is dropped"
            else:
                self._show("", error, piece)

    def _read(self, piece: ParsedText) -> None:
        """Add the calls of the envelope to `piece`. Raise, with any exception, where it holds none."""
        assert self._markers.tool_parser is not None
        if self._seconds > ANSWER_SECONDS:
            raise TimeoutError
        begun = time.thread_time()
        try:
            text, rest = (self._call, "") if self._markers.tool_end else split_rest(self._call)
            calls = read_calls(self._markers.tool_parser, text, self._tools)
        finally:
            self._seconds += time.thread_time() - begun
        for call in calls if self._parallel else calls[:1]:
            identity = call.id if call.id and call.id not in self._ids else new_id()
            index = len(self._ids)
            self._ids.add(identity)
            piece.calls.append(ToolCallDelta(index=index, id=identity, name=call.name, arguments=call.arguments))
        self.stopped = piece.ended = not self._parallel
        if not self.stopped:
            piece.content += self._content.take(rest)

    def _show(self, end: str, error: Exception, piece: ParsedText) -> None:
        piece.content += self._content.take((self._markers.tool_start or "") + self._call + end)
        piece.warning = f"a tool call could not be read ({type(error).__name__}); its text is in the content"


def _edges(markers: Markers, tools: bool, stop: tuple[str, ...]) -> dict[str, list[tuple[str, str | None]]]:
    """Return the markers that end each state, and the states that follow. Stop strings end content only."""
    edges: dict[str, list[tuple[str, str | None]]] = {"normal": [], "reasoning": [], "tool": []}
    if markers.think_start and markers.think_end:
        edges["normal"].append((markers.think_start, "reasoning"))
        edges["reasoning"].append((markers.think_end, "normal"))
    if tools and markers.tool_start and markers.tool_parser is not None:
        if not any(to == "tool" for found in markers.transitions.values() for _, to in found):
            edges["normal"].append((markers.tool_start, "tool"))
        edges["reasoning"].append((markers.tool_start, "tool"))
        edges["tool"].append((markers.tool_end, "normal") if markers.tool_end else (markers.tool_start, "tool"))
    for state, found in markers.transitions.items():
        edges.setdefault(state, []).extend((marker, to) for marker, to in found if tools or to != "tool")
    edges["normal"] += [(marker, "normal") for marker in markers.structural]
    edges["normal"] += [(text, None) for text in stop]
    return edges
