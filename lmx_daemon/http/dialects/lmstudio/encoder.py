"""Encoder of /api/v1/chat: events to LM Studio's server-sent events and to the whole answer."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import (
    Delta,
    Event,
    Finished,
    Loading,
    Prefill,
    Queued,
    Started,
    Timings,
    Usage,
)
from lmx_daemon.http.dialects.lmstudio.errors import lmstudio_error
from lmx_daemon.http.dialects.sse import named_event

Phase = Literal["", "model_load", "prompt_processing", "reasoning", "message"]


class LmStudioChatEncoder:
    """The state of one answer. Each phase of a stream has a start and an end."""

    def __init__(self, model: str, response_id: str | None) -> None:
        """Create the encoder. `response_id` is None for an answer that is not stored."""
        self._model = model
        self.response_id = response_id
        """None once the answer could not be stored."""
        self._output: list[dict[str, str]] = []
        """Parts of the answer so far: messages and reasoning, in their order."""
        self._phase: Phase = ""
        self._begun = False
        self._load_began = 0.0

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the bytes that `events` add to the stream."""
        return b"".join(part for event in events for part in self._parts(event))

    def failed(self, error: LmxError) -> bytes:
        """Return the error as an event. `chat.end` does not follow it."""
        return named_event("error", error=lmstudio_error(error)["error"])

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the answer as one JSON object."""
        return msgspec.json.encode(self.result(events))

    def result(self, events: Sequence[Event]) -> dict[str, Any]:
        """Return the answer whose events are complete."""
        output: list[dict[str, str]] = []
        for event in events:
            if isinstance(event, Delta):
                add(output, event)
        finished = events[-1]
        assert isinstance(finished, Finished)
        return self._result(output, finished)

    def _result(self, output: list[dict[str, str]], finished: Finished) -> dict[str, Any]:
        found = {
            "model_instance_id": self._model,
            "output": output,
            "stats": stats(finished.usage, finished.timings),
        }
        return found if self.response_id is None else found | {"response_id": self.response_id}

    def _parts(self, event: Event) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            yield named_event("chat.start", model_instance_id=self._model)
        match event:
            case Loading(fraction=fraction):
                yield from self._enter("model_load")
                yield named_event("model_load.progress", model_instance_id=self._model, progress=fraction or 0.0)
            case Queued():
                yield from self._enter("")
            case Started():
                yield from self._enter("prompt_processing")
            case Prefill(done=done, total=total):
                yield from self._enter("prompt_processing")
                yield named_event("prompt_processing.progress", progress=done / total if total else 1.0)
            case Delta():
                add(self._output, event)
                for phase, text in (("reasoning", event.reasoning), ("message", event.content)):
                    if text:
                        yield from self._enter(phase)  # type: ignore[arg-type]  # one of the two phases
                        yield named_event(f"{phase}.delta", content=text)
            case Finished():
                yield from self._enter("")
                yield named_event("chat.end", result=self._result(self._output, event))

    def _enter(self, phase: Phase) -> Iterator[bytes]:
        """Yield the end of the current phase and the start of the next one."""
        if phase == self._phase:
            return
        if self._phase == "model_load":
            seconds = time.monotonic() - self._load_began
            yield named_event("model_load.end", model_instance_id=self._model, load_time_seconds=seconds)
        elif self._phase:
            yield named_event(f"{self._phase}.end")
        self._phase = phase
        if phase == "model_load":
            self._load_began = time.monotonic()
            yield named_event("model_load.start", model_instance_id=self._model)
        elif phase:
            yield named_event(f"{phase}.start")


def add(output: list[dict[str, str]], delta: Delta) -> None:
    """Add a piece of the answer to its parts."""
    for kind, text in (("reasoning", delta.reasoning), ("message", delta.content)):
        if text and output and output[-1]["type"] == kind:
            output[-1]["content"] += text
        elif text:
            output.append({"type": kind, "content": text})


def stats(usage: Usage, timings: Timings) -> dict[str, Any]:
    """Return the counts and times of an answer, in seconds and tokens per second."""
    found = {
        "input_tokens": usage.prompt_tokens,
        "total_output_tokens": usage.completion_tokens,
        "reasoning_output_tokens": usage.reasoning_tokens,
        "tokens_per_second": timings.tokens_per_second(usage.completion_tokens),
        "time_to_first_token_seconds": timings.first_token,
    }
    return found | ({"model_load_time_seconds": timings.load} if timings.load else {})
