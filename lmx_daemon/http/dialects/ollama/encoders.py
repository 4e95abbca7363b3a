"""Encoders of /api/chat and /api/generate: events to JSON lines and to whole answers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Delta, Event, Finished, TokenLogprob, ToolCallDelta
from lmx_daemon.contract.generation.requests import Message, TextPart
from lmx_daemon.http.dialects.ollama.context import packed
from lmx_daemon.http.dialects.timestamps import timestamp

NANOSECONDS = 1_000_000_000
REASONS = {"tool_calls": "stop", "cancelled": "stop"}
"""Finish reasons with another name in Ollama."""


def line(value: Any) -> bytes:
    """Return one line of a stream."""
    return msgspec.json.encode(value) + b"\n"


class OllamaEncoder(ABC):
    """The common part of both routes. A call is complete in one piece, since its arguments are an object."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._call: ToolCallDelta | None = None
        """Tool call whose arguments are not complete yet."""

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the lines that `events` add to the stream."""
        return b"".join(self._lines(event) for event in events)

    def failed(self, error: LmxError) -> bytes:
        """Return the line that ends a stream whose request has failed."""
        return line({"error": error.message})

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the answer as one JSON object."""
        finished = events[-1]
        assert isinstance(finished, Finished)
        deltas = [event for event in events if isinstance(event, Delta)]
        calls = [call for delta in deltas for call in self._completed(delta.tool_call)]
        calls += self._completed(None, end=True)
        content, thinking = "".join(each.content for each in deltas), "".join(each.reasoning for each in deltas)
        logprobs = [entry for delta in deltas for entry in delta.logprobs]
        self._taken(content)
        return msgspec.json.encode(
            self._frame() | self._piece(content, thinking, calls) | probabilities(logprobs) | self._end(finished)
        )

    def _lines(self, event: Event) -> bytes:
        match event:
            case Delta():
                calls = self._completed(event.tool_call)
                if not (event.content or event.reasoning or calls or event.logprobs):
                    return b""
                self._taken(event.content)
                piece = self._piece(event.content, event.reasoning, calls) | probabilities(event.logprobs)
                return line(self._frame() | piece | {"done": False})
            case Finished():
                calls = self._completed(None, end=True)
                last = line(self._frame() | self._piece("", "", calls) | {"done": False}) if calls else b""
                return last + line(self._frame() | self._piece("", "", []) | self._end(event))
            case _:
                return b""

    def _frame(self) -> dict[str, Any]:
        return {"model": self._model, "created_at": timestamp()}

    def _completed(self, piece: ToolCallDelta | None, end: bool = False) -> list[dict[str, Any]]:
        """Add the next piece of a call, and return the calls that it completes."""
        done: list[dict[str, Any]] = []
        held = self._call
        if piece is not None and held is not None and piece.index == held.index:
            self._call = msgspec.structs.replace(held, arguments=held.arguments + piece.arguments)
        elif piece is not None or end:
            if held is not None:
                done.append(tool_call(held))
            self._call = piece
        return done

    def _end(self, finished: Finished) -> dict[str, Any]:
        """Return the fields of the last line. Durations are nanoseconds."""
        usage, timings = finished.usage, finished.timings
        return {
            "done": True,
            "done_reason": REASONS.get(finished.reason, finished.reason),
            "total_duration": nanoseconds(timings.first_token + timings.decode),
            "load_duration": nanoseconds(timings.load),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": nanoseconds(timings.prefill),
            "eval_count": usage.completion_tokens,
            "eval_duration": nanoseconds(timings.decode),
        }

    def _taken(self, content: str) -> None:
        """Record content that was sent."""
        return

    @abstractmethod
    def _piece(self, content: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the fields of a part of the answer."""


class OllamaChatEncoder(OllamaEncoder):
    """Encoder of /api/chat."""

    def _piece(self, content: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = calls
        return {"message": message}


class OllamaGenerateEncoder(OllamaEncoder):
    """Encoder of /api/generate."""

    def __init__(self, model: str, conversation: Sequence[Message] | None) -> None:
        """Create the encoder. Its last line has the `context` of `conversation`, which a raw prompt does not have."""
        super().__init__(model)
        self._conversation = conversation
        self._response = ""

    def _piece(self, content: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {"response": content} | ({"thinking": thinking} if thinking else {})

    def _taken(self, content: str) -> None:
        self._response += content

    def _end(self, finished: Finished) -> dict[str, Any]:
        fields = super()._end(finished)
        if self._conversation is not None:
            answer = Message(role="assistant", content=(TextPart(text=self._response),))
            fields["context"] = packed([*self._conversation, answer])
        return fields


def tool_call(call: ToolCallDelta) -> dict[str, Any]:
    """Return a call in Ollama's form. Arguments that are not an object are put into one."""
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        arguments = call.arguments
    if not isinstance(arguments, dict):
        arguments = {"arguments": arguments}
    return {"id": call.id, "function": {"index": call.index, "name": call.name, "arguments": arguments}}


def probabilities(entries: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return the field of log-probabilities, or none."""
    if not entries:
        return {}
    return {
        "logprobs": [
            probability(entry) | {"top_logprobs": [probability(top) for top in entry.top]} for entry in entries
        ]
    }


def probability(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.bytes)}


def nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
