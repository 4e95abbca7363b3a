"""ChatAnswer: the answer of a model to one prompt, built from the events of its request. Pure.

The daemon stores answers of chats, and the TUI and `lmx chat` show them while they grow. Times are seconds on the
owner's clock.
"""

from dataclasses import dataclass, field
from typing import Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.events import (
    Delta,
    Event,
    Failed,
    Finished,
    Loading,
    Prefill,
    Queued,
    Started,
    Timings,
    Usage,
)

AnswerState = Literal["waiting", "queued", "loading", "prefill", "thinking", "generating", "done", "stopped", "failed"]
ENDED: frozenset[AnswerState] = frozenset({"done", "stopped", "failed"})
SHORTEST_MEASURE = 0.2
"""Seconds between the first and the last token below which no rate is computed."""


@dataclass
class PartialCall:
    """A tool call that is still being received."""

    name: str = ""
    arguments: str = ""


@dataclass
class ChatAnswer:
    """Answer of a model, up to the last event received."""

    request_id: str
    model: str
    """Model that the request named."""
    asked_at: float
    state: AnswerState = "waiting"
    content: str = ""
    reasoning: str = ""
    calls: dict[int, PartialCall] = field(default_factory=dict)
    position: int | None = None
    """Position in the queue while `state` is "queued"."""
    progress: float | None = None
    """Fraction of the load or of the prefill that is complete."""
    stage: str = ""
    """Current stage of the model's load."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    first_difference: int | None = None
    """Index of the first prompt token that differs from the nearest stored prefix."""
    miss: str = ""
    """Reason for a prefix cache miss."""
    context_length: int = 0
    tokens: int = 0
    first_at: float | None = None
    """Time of the first delta."""
    last_at: float | None = None
    """Time of the last delta."""
    thinking_ended_at: float | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    truncated: bool = False
    """Whether the answer reached the maximum length."""
    error: ErrorBody | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def consume(self, event: Event, now: float) -> None:
        """Update the answer with one event of its request."""
        match event:
            case Queued(position=position):
                self.state, self.position = "queued", position
            case Loading(fraction=fraction, stage=stage):
                self.state, self.progress, self.stage = "loading", fraction, stage
            case Started():
                self.state, self.progress, self.stage = "prefill", None, ""
                self.prompt_tokens, self.cached_tokens = event.prompt_tokens, event.cached_tokens
                self.first_difference, self.miss = event.first_difference, event.miss
                self.context_length = event.context_length
            case Prefill(done=done, total=total):
                self.state, self.progress = "prefill", done / total if total else None
            case Delta():
                self._consume_delta(event, now)
            case Finished():
                self.state = "stopped" if event.reason == "cancelled" else "done"
                self.truncated = event.reason == "length"
                self.usage, self.timings = event.usage, event.timings
                self.tokens = event.usage.completion_tokens
                self.prompt_tokens, self.cached_tokens = event.usage.prompt_tokens, event.usage.cached_tokens
            case Failed(error=error):
                self.state, self.error = "failed", error
            case _:
                pass

    def _consume_delta(self, delta: Delta, now: float) -> None:
        if self.first_at is None:
            self.first_at = now
        self.last_at = now
        self.tokens += delta.tokens
        if delta.reasoning:
            self.reasoning += delta.reasoning
            self.state = "thinking"
        if delta.content:
            self.content += delta.content
        if delta.tool_call is not None:
            call = self.calls.setdefault(delta.tool_call.index, PartialCall())
            call.name = delta.tool_call.name or call.name
            call.arguments += delta.tool_call.arguments
        if delta.content or delta.tool_call is not None:
            self.state = "generating"
            if self.reasoning and self.thinking_ended_at is None:
                self.thinking_ended_at = now

    @property
    def rate(self) -> float | None:
        """Tokens per second: measured by the engine once the answer has ended, by arrival times before."""
        if self.timings is not None:
            return self.timings.tokens_per_second(self.tokens) or None
        if self.first_at is None or self.last_at is None or self.last_at - self.first_at < SHORTEST_MEASURE:
            return None
        return (self.tokens - 1) / (self.last_at - self.first_at)

    @property
    def first_token(self) -> float | None:
        """Seconds from the request to the first token (TTFT)."""
        if self.timings is not None:
            return self.timings.first_token if self.tokens else None
        return None if self.first_at is None else self.first_at - self.asked_at

    @property
    def context_used(self) -> int | None:
        """Number of tokens in the context: prompt and answer."""
        return None if self.prompt_tokens is None else self.prompt_tokens + self.tokens

    @property
    def thinking_seconds(self) -> float | None:
        if self.first_at is None or self.thinking_ended_at is None:
            return None
        return self.thinking_ended_at - self.first_at
