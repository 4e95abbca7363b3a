"""Parser of a model's text as it streams: content, reasoning and tool calls.

It reads markers and stop strings, not tokens. Text that may be the beginning of a marker or a stop string is held back
until that is decided, so any cutting of the same text into pieces gives the same answer. What stands between markers is
read by the model's family.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lmx_daemon.contract.generation.events import ToolCallDelta
from lmx_daemon.engines.mlx.text.call_ids import new_id
from lmx_daemon.engines.mlx.text.families.family import Family, State
from lmx_daemon.engines.mlx.text.markers import MarkerPattern, marker_pattern
from lmx_daemon.engines.mlx.text.open_envelope import OpenEnvelope
from lmx_daemon.engines.mlx.text.whitespace import TextChannel

PIECE = 4096
"""Characters that are parsed at once: each envelope in a piece costs a copy of the rest of it."""
MAX_FAILURES = 16
"""Envelopes without a call after which an answer's markers of calls are text."""
UNFINISHED = "the last tool call is incomplete, or could not be read to its end"
DROPPED = "the answer reached its limit of tokens inside a tool call, which is dropped"


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
        family: Family,
        *,
        tools: Sequence[dict[str, Any]] = (),
        stop: Sequence[str] = (),
        thinking: bool = False,
        parallel: bool = True,
    ) -> None:
        """Create the parser of an answer. With `parallel` false the answer ends after its first tool call."""
        self._family = family
        self._tools = list(tools)
        self._stop = tuple(stop)
        self._parallel = parallel
        self._state: State = "reasoning" if thinking else "content"
        self._failures = 0
        self._thought = False
        """Whether a thinking block has ended, so that a second end of it in the content is not text."""
        self._envelopes = {e.start: e for e in family.envelopes if self._tools or not e.calls}
        self._patterns: dict[State, MarkerPattern] = {"content": self._pattern(True), "reasoning": self._pattern(False)}
        self._open: OpenEnvelope | None = None
        self._held = ""
        self._ids: set[str] = set()
        self._blank = family.bare is not None and bool(self._tools)
        """Whether the content is blank so far and may turn out to be a call without a marker."""
        self._content = TextChannel(hold=bool(tools) or bool(self._envelopes), strip=False)
        self._reasoning = TextChannel(hold=True, strip=True)
        self.stopped = False
        if family.opening is not None and not thinking:
            self._open = OpenEnvelope(family.opening, self._tools)

    @property
    def thinking(self) -> bool:
        """Return whether the newest text is reasoning."""
        return self._state == "reasoning" and self._open is None

    @property
    def made_calls(self) -> bool:
        """Return whether a call has begun."""
        return bool(self._ids)

    def feed(self, text: str) -> ParsedText:
        """Parse the next text. Text after the end of the answer is ignored."""
        piece = ParsedText()
        if not (self._open or self._held or self._blank or self.stopped) and self._patterns[
            self._state
        ].firsts.isdisjoint(text):  # nearly all text: no marker can begin in it
            self._take(text, piece)
            return piece
        if text and not self.stopped:
            for start in range(0, len(text), PIECE):
                self._parse(text[start : start + PIECE], piece)
        piece.ended = self.stopped
        return piece

    def finish(self, cut: bool = False) -> ParsedText:
        """Return the text that was held back. `cut`: the answer ended at its limit of tokens."""
        piece = ParsedText()
        while not self.stopped:
            if self._open is not None:
                self._end_envelope(self._open, piece, cut)
                continue
            if cut and self._pattern(self._state == "content", stop=()).begins(self._held):
                self._held = ""
                self._content.interrupt()
            self._parse("", piece, final=True)
            if self._open is None:  # else it was opened by the text that was held back
                break
        if not self.made_calls:
            piece.content += self._content.rest()
        piece.ended = self.stopped
        return piece

    # ---- texts and markers ----

    def _parse(self, text: str, piece: ParsedText, final: bool = False) -> None:
        text, self._held = self._held + text, ""
        place = 0
        while not self.stopped:
            if self._open is not None:
                rest = self._feed_envelope(self._open, text[place:], piece)
                if rest is None:
                    return
                text, place = rest, 0
                continue
            if place >= len(text):
                return
            if self._blank and self._state == "content":
                start = len(text) - len(text[place:].lstrip())
                if start == len(text) and not final:
                    self._held = text[place:]
                    return
                if text[start : start + 1] in ("{", "["):
                    assert self._family.bare is not None
                    self._take(text[place:start], piece)
                    self._blank, place = False, start
                    self._open = OpenEnvelope(self._family.bare, self._tools)
                    continue
            until, marker = self._patterns[self._state].find(text, place, final)
            self._take(text[place:until], piece)
            if not marker:
                self._held = text[until:]
                return
            place = until + len(marker)
            self._pass(marker, piece)

    def _take(self, text: str, piece: ParsedText) -> None:
        if not text:
            return
        if self._state == "reasoning":
            piece.reasoning += self._reasoning.take(text)
        else:
            self._blank = self._blank and text.isspace()
            piece.content += self._content.take(text)

    def _pass(self, marker: str, piece: ParsedText) -> None:
        """Do what a marker means."""
        think = self._family.think
        if envelope := self._envelopes.get(marker):
            self._open = OpenEnvelope(envelope, self._tools)
        elif think is not None and marker == think[self._state == "reasoning"]:
            self._enter("content" if self._state == "reasoning" else "reasoning")
            if self._state == "content" and not self._thought:
                self._thought = True
                self._patterns["content"] = self._pattern(True)
        elif think is not None and marker == think[1]:  # a second end, as after a block that its budget has closed
            self._content.interrupt()
        elif marker in self._family.dropped:
            (self._reasoning if self._state == "reasoning" else self._content).interrupt()
            if self._family.thought is not None and marker == self._family.thought.end:
                self._enter("content")
        else:
            self.stopped, piece.matched_stop = True, marker

    def _enter(self, state: State) -> None:
        if state != self._state:
            self._content.interrupt()
            self._reasoning.interrupt()
        self._state = state

    def _pattern(self, content: bool, stop: Sequence[str] | None = None) -> MarkerPattern:
        """Return the markers of a state. Stop strings end content, not thinking or a call."""
        think = self._family.think
        markers = [*self._envelopes, *((think[0 if content else 1],) if think else ())]
        if think and content and self._thought:
            markers.append(think[1])
        stop = self._stop if stop is None else stop
        markers += self._family.dropped
        return marker_pattern((*markers, *stop) if content else tuple(markers))

    # ---- envelopes ----

    def _feed_envelope(self, opened: OpenEnvelope, text: str, piece: ParsedText) -> str | None:
        """Return the text behind the envelope, or None while it is open."""
        rest = opened.feed(text)
        self._emit(opened, piece)
        return None if rest is None else self._leave(opened, rest, piece)

    def _end_envelope(self, opened: OpenEnvelope, piece: ParsedText, cut: bool) -> None:
        """Close the envelope in which the answer ended. A call whose name is not whole is dropped at the limit."""
        rest = opened.end(cut)
        self._emit(opened, piece)
        if opened.failed and cut and opened.envelope.start and opened.envelope.calls:
            piece.warning = DROPPED
            self._open = None
            self._content.interrupt()
            return
        rest = self._leave(opened, rest, piece)
        self._parse(rest, piece, final=not cut)

    def _leave(self, opened: OpenEnvelope, rest: str, piece: ParsedText) -> str:
        """Return the text that is parsed next. That of an envelope without a call is text."""
        self._open = None
        if opened.failed:
            if opened.envelope.calls and opened.envelope.start:
                piece.warning = f"a tool call could not be read ({opened.failed}); its text is in the answer"
                self._failures += 1
                if self._failures >= MAX_FAILURES:
                    self._envelopes = {}
                    self._patterns = {"content": self._pattern(True), "reasoning": self._pattern(False)}
            if opened.envelope.calls:  # of a header nothing is shown
                self._take(opened.shown, piece)
            return rest
        if opened.unfinished:
            piece.warning = UNFINISHED
        if not self._parallel and self.made_calls:
            self.stopped = True
        if opened.next_state == "content":
            self._enter("content")
        elif opened.next_state == "reasoning":
            self._enter("reasoning")
        return rest

    def _emit(self, opened: OpenEnvelope, piece: ParsedText) -> None:
        for part in opened.take_parts():
            identity = None
            if part.name is not None:
                if not self._parallel and self.made_calls:
                    self.stopped = True
                    return
                (self._reasoning if self._state == "reasoning" else self._content).interrupt()
                identity = part.id if part.id and part.id not in self._ids else new_id()
                self._ids.add(identity)
            index = len(self._ids) - 1
            piece.calls.append(ToolCallDelta(index=index, id=identity, name=part.name, arguments=part.arguments))
