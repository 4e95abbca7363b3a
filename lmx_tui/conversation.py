"""A chat: its turns, the request that asks for the next answer, and an answer as its events tell it.

Pure but for its own state; owned by the chat screen. Times are the app's clock, in seconds.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation import (
    Chat,
    Delta,
    Event,
    Failed,
    Finished,
    Generate,
    Loading,
    Message,
    Prefill,
    Queued,
    Started,
    TextPart,
    Timings,
    Usage,
)
from lmx_daemon.contract.types import GUIDE, Instance, Model, Snapshot

AnswerState = Literal["waiting", "queued", "loading", "prefill", "thinking", "generating", "done", "stopped", "failed"]
ENDED: frozenset[AnswerState] = frozenset({"done", "stopped", "failed"})


@dataclass
class Call:
    """A tool call as its pieces come."""

    name: str = ""
    arguments: str = ""


@dataclass
class Answer:
    """One answer of a model, as far as it has come."""

    request_id: str
    model: str
    asked_at: float
    state: AnswerState = "waiting"
    content: str = ""
    reasoning: str = ""
    calls: dict[int, Call] = field(default_factory=dict)
    position: int | None = None
    progress: float | None = None
    stage: str = ""
    """What its model's load does now."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    first_difference: int | None = None
    miss: str = ""
    """Why less of the prompt was cached than could be expected, and where it differs."""
    context_length: int = 0
    tokens: int = 0
    first_at: float | None = None
    last_at: float | None = None
    thinking_ended_at: float | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    cut: bool = False
    """The longest allowed answer was reached."""
    error: ErrorBody | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def take(self, event: Event, now: float) -> None:
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
                self._take_delta(event, now)
            case Finished():
                self.state = "stopped" if event.reason == "cancelled" else "done"
                self.cut = event.reason == "length"
                self.usage, self.timings = event.usage, event.timings
                self.tokens = event.usage.completion_tokens
                self.prompt_tokens, self.cached_tokens = event.usage.prompt_tokens, event.usage.cached_tokens
            case Failed(error=error):
                self.state, self.error = "failed", error
            case _:
                pass

    def _take_delta(self, delta: Delta, now: float) -> None:
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
            call = self.calls.setdefault(delta.tool_call.index, Call())
            call.name = delta.tool_call.name or call.name
            call.arguments += delta.tool_call.arguments
        if delta.content or delta.tool_call is not None:
            self.state = "generating"
            if self.reasoning and self.thinking_ended_at is None:
                self.thinking_ended_at = now

    @property
    def rate(self) -> float | None:
        """Tokens a second: as the engine measured them, until then as they came."""
        if self.timings is not None:
            return self.timings.tokens_per_second(self.tokens) or None
        if self.first_at is None or self.last_at is None or self.last_at - self.first_at < 0.2:
            return None
        return (self.tokens - 1) / (self.last_at - self.first_at)

    @property
    def first_token(self) -> float | None:
        if self.timings is not None:
            return self.timings.first_token if self.tokens else None
        return None if self.first_at is None else self.first_at - self.asked_at

    @property
    def context_used(self) -> int | None:
        return None if self.prompt_tokens is None else self.prompt_tokens + self.tokens

    @property
    def thinking_seconds(self) -> float | None:
        if self.first_at is None or self.thinking_ended_at is None:
            return None
        return self.thinking_ended_at - self.first_at


@dataclass
class Turn:
    """A prompt and its answer."""

    prompt: str
    answer: Answer | None = None

    @property
    def unanswered(self) -> bool:
        """Ended before there was a word. Sent along, a prompt that was too long would fail the next one too, and many
        templates refuse two prompts in a row."""
        return self.answer is not None and self.answer.ended and not self.answer.content


class Conversation:
    def __init__(self, thinking: bool | None = None) -> None:
        self.turns: list[Turn] = []
        self.thinking = thinking
        """Whether the model is asked to think first; None leaves it to the model."""
        self.model: str | None = None
        """The model of its answers, once one has begun. It answers until another one is chosen."""

    @property
    def answer(self) -> Answer | None:
        """The last one."""
        return self.turns[-1].answer if self.turns else None

    @property
    def busy(self) -> bool:
        return self.answer is not None and not self.answer.ended

    def take(self, event: Event, now: float) -> None:
        """Take an event of the last answer."""
        answer = self.answer
        if answer is not None:
            answer.take(event, now)
            if isinstance(event, Started | Delta):
                self.model = answer.model

    def ask(self, prompt: str, model: str, now: float) -> Generate:
        """Adds a turn and gives the request for its answer."""
        self.turns.append(Turn(prompt))
        return self._request(model, now)

    def ask_again(self, model: str, now: float) -> Generate:
        """Drops the last answer and asks for another."""
        return self._request(model, now)

    def _request(self, model: str, now: float) -> Generate:
        request_id = f"tui-{uuid.uuid4().hex[:12]}"
        request = Generate(
            id=request_id,
            model=model,
            prompt=Chat(messages=self._messages(), thinking=self.thinking),
            tenant="tui",
            client="lmx tui",
            route="/admin/generate",
        )
        self.turns[-1].answer = Answer(request_id, model, now)
        return request

    def _messages(self) -> tuple[Message, ...]:
        """The turns as messages, less thinking, which would only eat context, and prompts that had no answer."""
        messages: list[Message] = []
        for turn in self.turns:
            if turn is not self.turns[-1] and turn.unanswered:
                continue
            messages.append(Message(role="user", content=(TextPart(text=turn.prompt),)))
            if turn is not self.turns[-1] and turn.answer is not None and turn.answer.content:
                messages.append(Message(role="assistant", content=(TextPart(text=turn.answer.content),)))
        return tuple(messages)


def model_to_ask(snapshot: Snapshot | None) -> str | None:
    """Return the model for a new conversation: the one used last of those in memory, else the guide, else any other."""
    if snapshot is None:
        return None
    ready = [instance for instance in snapshot.instances if instance.state == "ready"]
    if ready:
        return max(ready, key=lambda instance: (instance.used_at or 0.0, instance.loaded_at or 0.0)).model
    sound = [model.id for model in snapshot.models if model.problem is None]
    return GUIDE if GUIDE in sound else next(iter(sound), None)


Absence = Literal["unloaded", "missing"]
ABSENCES: dict[Absence, str] = {"unloaded": "has left memory", "missing": "is no longer on this machine"}


def absence(model: str, models: Iterable[Model], instances: Iterable[Instance]) -> Absence | None:
    """Return why a conversation's model cannot just go on answering, or None where it can."""
    if not any(found.id == model and found.problem is None for found in models):
        return "missing"
    present = any(found.model == model and found.state in ("starting", "loading", "ready") for found in instances)
    return None if present else "unloaded"


def context_of(model: str, snapshot: Snapshot) -> int:
    """How many tokens a chat with the model may have: as it is loaded, else as its files say; 0 where not known."""
    for instance in snapshot.instances:
        if instance.model == model and instance.capabilities is not None:
            return instance.capabilities.context_length
    return next((found.context_length or 0 for found in snapshot.models if found.id == model), 0)
