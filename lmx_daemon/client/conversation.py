"""A conversation with a model, as the TUI and `lmx chat` keep it: turns, requests to send, answers built from events.

Performs no I/O: its owner sends the requests and passes the events in. Times are seconds on the owner's clock.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.events import Delta, Event, Failed, Finished, Loading, Prefill, Queued, Started, Timings, Usage
from lmx_daemon.contract.models import GUIDE, Instance, Model
from lmx_daemon.contract.requests import Chat, Generate, Message, Sampling, TextPart

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


@dataclass
class Turn:
    """A prompt and its answer."""

    prompt: str
    answer: ChatAnswer | None = None

    @property
    def unanswered(self) -> bool:
        """Whether the answer ended without content.

        Such a turn is left out of later requests: a prompt that was too long would make the next request fail too, and
        many chat templates reject two user messages in a row.
        """
        return self.answer is not None and self.answer.ended and not self.answer.content


class Conversation:
    """The turns of a chat, and the options of its requests."""

    def __init__(
        self,
        *,
        tenant: str,
        client: str,
        thinking: bool | None = None,
        system: str | None = None,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Begin an empty conversation; `tenant` and `client` are sent with each request, as Generate defines them."""
        self.turns: list[Turn] = []
        self.thinking = thinking
        """Whether requests ask for thinking; None leaves it to the model's template."""
        self.system = system
        self.model: str | None = None
        """Id of the model that answered first. It stays until the user chooses another model; None before an answer."""
        self._tenant = tenant
        self._client = client
        self._sampling = sampling or Sampling()
        self._max_tokens = max_tokens

    @property
    def answer(self) -> ChatAnswer | None:
        """Answer of the last turn."""
        return self.turns[-1].answer if self.turns else None

    @property
    def busy(self) -> bool:
        return self.answer is not None and not self.answer.ended

    def consume(self, event: Event, now: float) -> None:
        """Update the last answer with one event of its request."""
        answer = self.answer
        if answer is None:
            return
        answer.consume(event, now)
        if isinstance(event, Started):
            self.model = event.instance.rpartition(":")[0] or answer.model
        elif isinstance(event, Delta):
            self.model = self.model or answer.model

    def stop(self) -> None:
        """Mark the last answer as stopped. Has no effect once the answer has ended."""
        if self.answer is not None and not self.answer.ended:
            self.answer.state = "stopped"

    def ask(self, prompt: str, model: str, now: float) -> Generate:
        """Add a turn, and return the request for its answer."""
        self.turns.append(Turn(prompt))
        return self._request(model, now)

    def ask_again(self, model: str, now: float) -> Generate:
        """Discard the last answer, and return the request for another one."""
        return self._request(model, now)

    def _request(self, model: str, now: float) -> Generate:
        request_id = f"{self._tenant}-{uuid.uuid4().hex[:12]}"
        request = Generate(
            id=request_id,
            model=model,
            prompt=Chat(messages=self._messages(), thinking=self.thinking),
            sampling=self._sampling,
            max_tokens=self._max_tokens,
            tenant=self._tenant,
            client=self._client,
            route="/admin/generate",
        )
        self.turns[-1].answer = ChatAnswer(request_id, model, now)
        return request

    def _messages(self) -> tuple[Message, ...]:
        """Return the messages to send, without unanswered turns and without reasoning, which would only use context."""
        messages = [_message("system", self.system)] if self.system else []
        for turn in self.turns:
            last = turn is self.turns[-1]
            if turn.unanswered and not last:
                continue
            messages.append(_message("user", turn.prompt))
            if turn.answer is not None and turn.answer.content and not last:
                messages.append(_message("assistant", turn.answer.content))
        return tuple(messages)


def _message(role: Literal["system", "user", "assistant"], text: str) -> Message:
    return Message(role=role, content=(TextPart(text=text),))


def default_model(models: Iterable[Model], instances: Iterable[Instance]) -> str | None:
    """Return the model for a new conversation: the loaded one used last, else lmx/guide, else any usable one."""
    ready = [instance for instance in instances if instance.state == "ready"]
    if ready:
        return max(ready, key=lambda instance: (instance.used_at or 0.0, instance.loaded_at or 0.0)).model
    usable = [model.id for model in models if model.problem is None]
    return GUIDE if GUIDE in usable else next(iter(usable), None)


Absence = Literal["unloaded", "missing"]
ABSENCES: dict[Absence, str] = {"unloaded": "is no longer loaded", "missing": "is no longer on this machine"}


def absence(model: str, models: Iterable[Model], instances: Iterable[Instance]) -> Absence | None:
    """Return why the model of a conversation cannot answer at once, or None if it can."""
    if not any(found.id == model and found.problem is None for found in models):
        return "missing"
    present = any(found.model == model and found.state in ("starting", "loading", "ready") for found in instances)
    return None if present else "unloaded"


def context_length_of(model: str, snapshot: Snapshot) -> int:
    """Return the context length of the loaded model, else the one its files state; 0 if it is unknown."""
    for instance in snapshot.instances:
        if instance.model == model and instance.capabilities is not None:
            return instance.capabilities.context_length
    return next((found.context_length or 0 for found in snapshot.models if found.id == model), 0)
