"""Encoders of the OpenAI routes: events to whole answers and to chunks of a stream. They use no sockets."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Delta, Event, Finished, TokenLogprob, ToolCallDelta, Usage
from lmx_daemon.contract.version import VERSION
from lmx_daemon.http.dialects import sse
from lmx_daemon.http.dialects.openai_chat import functions as openai_functions
from lmx_daemon.http.dialects.openai_chat.errors import openai_error
from lmx_daemon.http.dialects.openai_chat.reasoning import NAME

DONE = b"data: [DONE]\n\n"
FINGERPRINT = f"lmx-{VERSION}"


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return the usage in OpenAI's form. `truncated_tokens` is an addition of lmx for a prompt that was shortened."""
    truncated = {"truncated_tokens": usage.truncated_tokens} if usage.truncated_tokens else {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens} | truncated,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def finish_reason(reason: str) -> str:
    """Return OpenAI's word for the end of a choice. It has none for a cancelled answer."""
    return "stop" if reason == "cancelled" else reason


class OpenAIEncoder(ABC):
    """The common part of chat completions and completions."""

    object = ""
    chunk = ""
    prefix = ""

    def __init__(self, identity: str, model: str, include_usage: bool = False) -> None:
        self._frame = {
            "id": f"{self.prefix}-{identity}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": FINGERPRINT,
        }
        self._include_usage = include_usage
        usage = {"usage": None} if include_usage else {}
        chunk = sse.data({**self._frame, "object": self.chunk, "choices": [None], **usage})
        before, _, after = chunk.rpartition(b"[null]")
        self._before, self._after = before + b"[", b"]" + after
        """Bytes of a chunk before and after its choice. They are the same in every chunk, so they are encoded once."""

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the bytes that `events` add to the stream."""
        return b"".join(part for event in events for part in self._parts(event))

    def _parts(self, event: Event) -> list[bytes]:
        match event:
            case Delta():
                return [*self._opening(event.choice), self._chunk(self._choice(event))]
            case Finished():
                ends: list[bytes] = []
                for index, ending in enumerate(event.endings):
                    ends += (*self._opening(index), self._last_chunk(self._end(index, ending.reason), event.usage))
                if self._include_usage:
                    ends.append(
                        sse.data({**self._frame, "object": self.chunk, "choices": [], "usage": usage_of(event.usage)})
                    )
                return [*ends, DONE]
            case _:
                return []

    def failed(self, error: LmxError) -> bytes:
        """Return the error object as the last event. `[DONE]` does not follow it."""
        return sse.data(openai_error(error))

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the answer as one JSON object."""
        finished = events[-1]
        assert isinstance(finished, Finished)
        answer = {
            **self._frame,
            "object": self.object,
            "choices": [
                self._whole_choice(index, ChoiceContent(events, index), finished.endings[index].reason)
                for index in range(choices)
            ],
            "usage": usage_of(finished.usage),
        }
        return msgspec.json.encode(answer)

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return self._before + msgspec.json.encode(choice) + self._after

    def _last_chunk(self, choice: dict[str, Any], usage: Usage) -> bytes:
        """Return the last chunk of a choice. It states how many tokens were left out of the prompt, if any."""
        chunk = self._chunk(choice)
        if not usage.truncated_tokens:
            return chunk
        return chunk.removesuffix(b"}\n\n") + b',"truncated_tokens":%d}\n\n' % usage.truncated_tokens

    def _opening(self, index: int) -> Sequence[bytes]:
        """Return the chunk that precedes the first one of a choice; nothing for a choice that is open."""
        return ()

    @abstractmethod
    def _whole_choice(self, index: int, content: "ChoiceContent", reason: str) -> dict[str, Any]:
        """Return a choice of an answer that is not streamed."""

    @abstractmethod
    def _choice(self, delta: Delta) -> dict[str, Any]:
        """Return the part that one event adds to its choice."""

    @abstractmethod
    def _end(self, index: int, reason: str) -> dict[str, Any]:
        """Return the part of the last chunk of a choice."""


class ChatEncoder(OpenAIEncoder):
    object = "chat.completion"
    chunk = "chat.completion.chunk"
    prefix = "chatcmpl"

    def __init__(
        self,
        identity: str,
        model: str,
        include_usage: bool = False,
        *,
        legacy: bool = False,
        reasoning_names: Sequence[str] = (NAME,),
    ) -> None:
        """Create the encoder of one answer. With `legacy` its call has the old form, `function_call`."""
        super().__init__(identity, model, include_usage)
        self._legacy = legacy
        self._reasoning_names = reasoning_names
        self._opened: set[int] = set()

    def _whole_choice(self, index: int, content: "ChoiceContent", reason: str) -> dict[str, Any]:
        text, calls = content.text, content.calls
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not calls else None,
            "refusal": None,
        }
        if content.reasoning:
            message |= dict.fromkeys(self._reasoning_names, content.reasoning)
        if calls and self._legacy:
            message["function_call"] = openai_functions.function_call(calls[0])
        elif calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        return {
            "index": index,
            "message": message,
            "logprobs": _logprobs(content.logprobs),
            "finish_reason": self._reason(reason),
        }

    def _reason(self, reason: str) -> str:
        return finish_reason(openai_functions.finish_reason(reason) if self._legacy else reason)

    def _opening(self, index: int) -> Sequence[bytes]:
        """Return the chunk with the role, which is the first one of a choice."""
        if index in self._opened:
            return ()
        self._opened.add(index)
        role = {"role": "assistant", "content": "", "refusal": None}
        return (self._chunk({"index": index, "delta": role, "logprobs": None, "finish_reason": None}),)

    def _choice(self, delta: Delta) -> dict[str, Any]:
        added: dict[str, Any] = {}
        if delta.content:
            added["content"] = delta.content
        if delta.reasoning:
            for name in self._reasoning_names:
                added[name] = delta.reasoning
        if delta.tool_call is not None and self._legacy:
            added["function_call"] = openai_functions.function_call(delta.tool_call)
        elif delta.tool_call is not None:
            added["tool_calls"] = [_call(delta.tool_call)]
        if not added:  # log-probabilities of a token whose text is still held back
            added["content"] = ""
        return {"index": delta.choice, "delta": added, "logprobs": _logprobs(delta.logprobs), "finish_reason": None}

    def _end(self, index: int, reason: str) -> dict[str, Any]:
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": self._reason(reason)}


class ChoiceContent:
    """Everything that one choice produced."""

    def __init__(self, events: Sequence[Event], index: int) -> None:
        """Collect the content of choice `index`."""
        deltas = [event for event in events if isinstance(event, Delta) and event.choice == index]
        self.text = "".join(delta.content for delta in deltas)
        self.reasoning = "".join(delta.reasoning for delta in deltas)
        self.logprobs: list[TokenLogprob] = [entry for delta in deltas for entry in delta.logprobs]
        self.calls: list[ToolCallDelta] = []
        for delta in deltas:
            if delta.tool_call is not None:
                self._add(delta.tool_call)

    def _add(self, piece: ToolCallDelta) -> None:
        if piece.index >= len(self.calls):
            self.calls.append(piece)
            return
        call = self.calls[piece.index]
        self.calls[piece.index] = msgspec.structs.replace(call, arguments=call.arguments + piece.arguments)


def _call(piece: ToolCallDelta) -> dict[str, Any]:
    """Return a piece of a call. Only the first piece of a call has id, type and name."""
    function: dict[str, Any] = {"arguments": piece.arguments}
    if piece.name is None:
        return {"index": piece.index, "function": function}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": {"name": piece.name} | function}


def _logprobs(entries: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """Return log-probabilities in the form of chat completions."""
    return {"content": [_logprob(entry) for entry in entries], "refusal": None} if entries else None


def _logprob(found: TokenLogprob) -> dict[str, Any]:
    entry: dict[str, Any] = {"token": found.token, "logprob": found.logprob, "bytes": list(found.bytes)}
    return entry | {"top_logprobs": [{k: v for k, v in _logprob(t).items() if k != "top_logprobs"} for t in found.top]}
