"""A message of a chat while a model generates it: its stored form after each event."""

from collections.abc import Iterable

import msgspec

from lmx_daemon.contract.admin.chats import Figures, MessageState, StoredMessage
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Event, Loading, Prefill, Queued, Started
from lmx_daemon.contract.generation.requests import ToolCall

STATES: dict[str, MessageState] = {"done": "done", "stopped": "stopped", "failed": "failed"}


class GrowingMessage:
    """A message with state "running", and the events of its request so far."""

    def __init__(self, chat: str, message: StoredMessage, now: float) -> None:
        self.chat = chat
        self.progress: Event | None = None
        """Last event, if it reports progress towards the first token; else None."""
        self._begun = message
        self._answer = ChatAnswer(message.request_id, message.model, now)
        self._answer.content, self._answer.reasoning = message.text, message.reasoning
        self._model, self._seed = message.model, None if message.figures is None else message.figures.seed

    @property
    def id(self) -> str:
        return self._begun.id

    @property
    def request_id(self) -> str:
        return self._begun.request_id

    @property
    def ended(self) -> bool:
        return self._answer.ended

    def consume(self, events: Iterable[Event], now: float) -> None:
        """Add the next events of the request."""
        for event in events:
            self._answer.consume(event, now)
            self.progress = event if isinstance(event, Queued | Loading | Started | Prefill) else None
            if isinstance(event, Started):
                self._model = event.instance.rpartition(":")[0] or self._model
                self._seed = event.seed

    def message(self) -> StoredMessage:
        """Return the message as it is now."""
        answer = self._answer
        calls = tuple(
            ToolCall(id=f"call_{place}", name=call.name, arguments=call.arguments)
            for place, call in sorted(answer.calls.items())
        )
        return msgspec.structs.replace(
            self._begun,
            text=answer.content,
            reasoning=answer.reasoning,
            tool_calls=calls or self._begun.tool_calls,
            state=STATES.get(answer.state, "running"),
            model=self._model,
            error=answer.error,
            figures=Figures(
                prompt_tokens=answer.prompt_tokens,
                cached_tokens=answer.cached_tokens,
                tokens=answer.tokens,
                context_length=answer.context_length,
                first_token=answer.first_token,
                rate=answer.rate,
                thinking_seconds=answer.thinking_seconds,
                miss=answer.miss,
                first_difference=answer.first_difference,
                truncated=answer.truncated,
                seed=self._seed,
            ),
        )
