"""From a model's text to content, reasoning and tool calls, piece by piece as it streams.

It knows markers and stop strings, not tokens. Text that may be the beginning of a marker or a stop string is held back
until that is decided, so any cutting of the same text into pieces gives the same answer.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_lm.generate import TextStateMachine

from lmx_daemon.contract.generation import ToolCallDelta


@dataclass(frozen=True)
class Markers:
    """A model family's markers, as mlx-lm's tokenizer wrapper finds them."""

    think_start: str | None = None
    think_end: str | None = None
    tool_start: str | None = None
    tool_end: str | None = None
    """"" where a call runs to the end of the answer."""
    tool_parser: Callable[[str, Any], Any] | None = None
    structural: tuple[str, ...] = ()
    """Markers that are dropped wherever they stand."""


@dataclass
class Piece:
    """What one step of text came to."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCallDelta] = field(default_factory=list)
    matched_stop: str | None = None
    warning: str | None = None

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning or self.calls)


class OutputParser:
    """One answer's state. `feed` until the end, then `finish`."""

    def __init__(
        self,
        markers: Markers,
        *,
        tools: Sequence[dict[str, Any]] = (),
        stop: Sequence[str] = (),
        thinking: bool = False,
    ) -> None:
        self._markers = markers
        self._tools = list(tools)
        self._stop = tuple(stop)
        self._state = _machine(markers, bool(tools), self._stop).make_state("reasoning" if thinking else "normal")
        self._call = ""
        self._calls = 0
        self._seen = ""
        self._trim: dict[str, bool] = {"normal": False, "reasoning": True}
        self._held = {"normal": "", "reasoning": ""}
        self.stopped = False

    @property
    def thinking(self) -> bool:
        return bool(self._state[0] == "reasoning")

    @property
    def made_calls(self) -> bool:
        return self._calls > 0

    def feed(self, text: str) -> Piece:
        """Takes the next text. After a stop string nothing more is taken."""
        piece = Piece()
        if self.stopped or not text:
            return piece
        if self._stop:
            self._seen = self._seen[-max(map(len, self._stop)) :] + text
        before = self._state[0]
        self._state, segments = TextStateMachine.split(self._state, text)
        for state, part in segments:
            if state is None:
                break
            if state != before:
                self._enter(before, state, piece)
                before = state
            self._take(state, part, piece)
        if self._state[0] is None:
            self.stopped = True
            rest = self._state[3]
            head = self._seen[: len(self._seen) - len(rest)]
            piece.matched_stop = max((s for s in self._stop if head.endswith(s)), key=len, default=None)
        elif self._state[0] != before:
            self._enter(before, self._state[0], piece)
        return piece

    def finish(self) -> Piece:
        """What was held back, at the end of the answer."""
        piece = Piece()
        if not self.stopped:
            self._state, rest, state = TextStateMachine.flush(self._state)
            self._take(state, rest, piece)
            if state == "tool":
                if self._markers.tool_end == "":
                    self._close_call(piece)
                else:
                    piece.content += (self._markers.tool_start or "") + self._call
                    piece.warning = "the answer ended inside a tool call"
        if self._held["normal"] and not self.made_calls and not self._trim["normal"]:
            piece.content += self._held["normal"]
        return piece

    def _enter(self, old: str, new: str, piece: Piece) -> None:
        if old == "tool":
            self._close_call(piece)
        if old != "normal" and new == "normal":
            self._trim["normal"] = True
        self._held = {"normal": "", "reasoning": ""}

    def _take(self, state: str, text: str, piece: Piece) -> None:
        if not text:
            return
        if state == "tool":
            self._call += text
        elif state == "reasoning":
            piece.reasoning += self._trimmed(state, text)
        else:
            piece.content += self._trimmed("normal", text)

    def _trimmed(self, state: str, text: str) -> str:
        """`text` less the white space at a boundary: it waits in `_held` until something else follows."""
        text = self._held[state] + text
        self._held[state] = ""
        if self._trim[state]:
            text = text.lstrip()
            if not text:
                return ""
            self._trim[state] = False
        if state == "reasoning" or self._tools:
            kept = text.rstrip()
            self._held[state] = text[len(kept) :]
            return kept
        return text

    def _close_call(self, piece: Piece) -> None:
        text, self._call = self._call, ""
        assert self._markers.tool_parser is not None
        try:
            parsed = self._markers.tool_parser(text, self._tools)
            calls = [_call(entry) for entry in (parsed if isinstance(parsed, list) else [parsed])]
        except Exception as error:  # a model's text may break a parser in any way; the text itself is the answer then
            piece.content += (self._markers.tool_start or "") + text + (self._markers.tool_end or "")
            piece.warning = f"a tool call could not be read: {type(error).__name__}: {error}"
            return
        for name, arguments in calls:
            identity = f"call_{uuid.uuid4().hex[:24]}"
            piece.calls.append(ToolCallDelta(index=self._calls, id=identity, name=name, arguments=arguments))
            self._calls += 1


def _call(entry: Any) -> tuple[str, str]:
    """(name, arguments as JSON text). Raises where the entry is no call."""
    name, arguments = entry["name"], entry.get("arguments", entry.get("parameters", {}))
    if not isinstance(name, str) or not name:
        raise ValueError("a call without a name")
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _machine(markers: Markers, tools: bool, stop: tuple[str, ...]) -> TextStateMachine:
    """Stop strings end content, not thinking: a line break as stop must not cut the model's thoughts."""
    edges: dict[str, list[tuple[str, str | None]]] = {"normal": [], "reasoning": [], "tool": []}
    if markers.think_start and markers.think_end:
        edges["normal"].append((markers.think_start, "reasoning"))
        edges["reasoning"].append((markers.think_end, "normal"))
    if tools and markers.tool_start and markers.tool_parser is not None:
        edges["normal"].append((markers.tool_start, "tool"))
        edges["reasoning"].append((markers.tool_start, "tool"))
        if markers.tool_end:
            edges["tool"].append((markers.tool_end, "normal"))
    edges["normal"] += [(marker, "normal") for marker in markers.structural]
    edges["normal"] += [(text, None) for text in stop]
    return TextStateMachine({name: found for name, found in edges.items() if found} or None)
