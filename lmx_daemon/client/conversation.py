"""A conversation with a model, as the TUI and `lmx chat` keep it: turns, requests to send, answers built from events.

Performs no I/O: its owner sends the requests and passes the events in. Times are seconds on the owner's clock.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Delta, Event, Started
from lmx_daemon.contract.generation.requests import Chat, Generate, ImagePart, Message, Sampling, TextPart
from lmx_daemon.contract.models import GUIDE, Instance, Model


@dataclass
class Turn:
    """A prompt and its answer."""

    prompt: str
    images: tuple[ImagePart, ...] = ()
    """Images of the question, which the model sees before its text."""
    answer: ChatAnswer | None = None

    @property
    def unanswered(self) -> bool:
        """Return whether the answer ended without content.

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
        self.sampling = sampling or Sampling()
        self.max_tokens = max_tokens

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

    def ask(self, prompt: str, model: str, now: float, images: tuple[ImagePart, ...] = ()) -> Generate:
        """Add a turn, and return the request for its answer."""
        self.turns.append(Turn(prompt, images))
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
            sampling=self.sampling,
            max_tokens=self.max_tokens,
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
            messages.append(Message(role="user", content=(*turn.images, TextPart(text=turn.prompt))))
            if turn.answer is not None and turn.answer.content and not last:
                messages.append(_message("assistant", turn.answer.content))
        return tuple(messages)


def _message(role: Literal["system", "assistant"], text: str) -> Message:
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
