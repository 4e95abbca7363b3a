"""Streaming: the answers of the demonstration as events over time. The machine gives the course of each request."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from lmx_daemon.contract.admin.chats import Figures, MessageState, StoredMessage
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Loading, Started, Usage
from lmx_tui.demo.answers import THOUGHTS, answer_to, pieces
from lmx_tui.demo.machine import DemoMachine, ModelInMemory
from lmx_tui.demo.requests import ScriptedRequest

STEP_SECONDS = 0.04
"""Interval at which an answer grows."""
CACHED_SHARE = 0.9
"""Share of a prompt that the prefix cache has after the first question."""
STATES: dict[str, MessageState] = {"done": "done", "stopped": "stopped", "failed": "failed"}


class Streaming:
    """The generation of answers on one machine. `clock` returns wall-clock seconds."""

    def __init__(self, machine: DemoMachine, clock: Callable[[], float]) -> None:
        self._machine, self._clock = machine, clock

    async def events(self, message: StoredMessage, number: int, prompt: int) -> AsyncIterator[tuple[Event, ...]]:
        """Yield the events of an answer: the load of its model if that is not in memory, and the text.

        Raises LmxError if the model cannot be loaded.
        """
        identity, loaded = message.request_id, self._machine.load(message.model)
        while loaded.ready_at > self._clock():
            waited = self._clock() - loaded.begun
            share = min(1.0, waited / (loaded.ready_at - loaded.begun))
            yield (Loading(id=identity, model=message.model, fraction=share, stage="reading weights"),)
            await asyncio.sleep(STEP_SECONDS)
        self._machine.advance(self._clock())
        cached = int(prompt * CACHED_SHARE) if number else 0
        request = self._begin(identity, loaded, number, prompt, cached)
        yield (
            Started(
                id=identity, prompt_tokens=prompt, cached_tokens=cached, seed=1,
                context_length=loaded.model.context_length or 0,
            ),
        )  # fmt: skip
        async for deltas in self._deltas(request, number):
            yield deltas
        usage = Usage(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=request.done(request.ends_at))
        reason = Ending(reason="stop" if request.cancelled_at is None else "cancelled")
        yield (Finished(id=identity, endings=(reason,), usage=usage, timings=request.timings()),)

    def _begin(self, identity: str, loaded: ModelInMemory, number: int, prompt: int, cached: int) -> ScriptedRequest:
        tokens = len(_thoughts(number)) + len(pieces(answer_to(number)))
        request = self._machine.begin(loaded.model.id, "lmx tui", "/admin/chats", prompt, cached, tokens)
        request.id = identity
        return request

    async def _deltas(self, request: ScriptedRequest, number: int) -> AsyncIterator[tuple[Event, ...]]:
        """Yield the pieces of the text that have become due, until the request ends."""
        thoughts, sent = _thoughts(number), 0
        text = [*thoughts, *pieces(answer_to(number))]
        while True:
            self._machine.advance(self._clock())
            now = self._machine.now
            due = text[sent : request.done(now)]
            reasoning = "".join(due[: max(0, len(thoughts) - sent)])
            content = "".join(due[max(0, len(thoughts) - sent) :])
            sent += len(due)
            if reasoning:
                yield (Delta(id=request.id, reasoning=reasoning, tokens=min(len(due), len(thoughts))),)
            if content:
                yield (Delta(id=request.id, content=content, tokens=0 if reasoning else len(due)),)
            if now >= request.ends_at:
                return
            await asyncio.sleep(STEP_SECONDS)

    def answer_of(self, message: StoredMessage, now: float) -> ChatAnswer:
        return ChatAnswer(message.request_id, message.model, now)

    def grown(self, message: StoredMessage, answer: ChatAnswer) -> StoredMessage:
        """Return a message with its answer as it is now."""
        return msgspec.structs.replace(
            message, text=answer.content, reasoning=answer.reasoning, state=STATES.get(answer.state, "running"),
            error=answer.error,
            figures=Figures(
                prompt_tokens=answer.prompt_tokens, cached_tokens=answer.cached_tokens, tokens=answer.tokens,
                context_length=answer.context_length, first_token=answer.first_token, rate=answer.rate,
                thinking_seconds=answer.thinking_seconds,
            ),
        )  # fmt: skip


def _thoughts(number: int) -> list[str]:
    """Return the pieces of the thinking before an answer; only the first answer of a chat has some."""
    return [] if number else pieces(THOUGHTS)
