"""The items of an answer while they grow: a message, reasoning, or a call. Each yields its own events."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from lmx_daemon.contract.generation.events import TokenLogprob, ToolCallDelta
from lmx_daemon.http.dialects.openai_responses.bodies import Object
from lmx_daemon.http.dialects.openai_responses.items import sealed
from lmx_daemon.http.dialects.openai_responses.tool_table import NamedTool, input_of

ResponseEvent = tuple[str, Object]
"""Type of an event after "response.", and its fields besides those that every event of an item has."""


class OutputItem(Protocol):
    """Item of the output. `added` and `done` give its first and its last form."""

    id: str

    def opening(self) -> Iterator[ResponseEvent]:
        """Yield the events that follow `output_item.added`."""

    def closing(self) -> Iterator[ResponseEvent]:
        """Yield the events that come before `output_item.done`."""

    def object(self, status: str) -> Object:
        """Return the item as it is now."""


class MessageItem:
    """Text of the assistant."""

    def __init__(self, identity: str) -> None:
        self.id = f"msg_{identity}"
        self._text = ""
        self._logprobs: list[Object] = []

    def opening(self) -> Iterator[ResponseEvent]:
        yield "content_part.added", {"content_index": 0, "part": self._part()}

    def add(self, text: str, logprobs: Sequence[TokenLogprob]) -> Iterator[ResponseEvent]:
        """Add text. Yield its event."""
        entries = [logprob(entry) for entry in logprobs]
        self._text += text
        self._logprobs += entries
        if text or entries:
            yield "output_text.delta", {"content_index": 0, "delta": text, "logprobs": entries}

    def closing(self) -> Iterator[ResponseEvent]:
        yield "output_text.done", {"content_index": 0, "text": self._text, "logprobs": self._logprobs}
        yield "content_part.done", {"content_index": 0, "part": self._part()}

    def object(self, status: str) -> Object:
        content = [] if status == "in_progress" else [self._part()]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _part(self) -> Object:
        return {"type": "output_text", "text": self._text, "annotations": [], "logprobs": list(self._logprobs)}


class ReasoningItem:
    """Reasoning: a summary if the client asks for one, else reasoning text."""

    def __init__(self, identity: str, *, summary: bool, encrypted: bool) -> None:
        self.id = f"rs_{identity}"
        self._summary, self._encrypted = summary, encrypted
        self._text = ""

    def opening(self) -> Iterator[ResponseEvent]:
        if self._summary:
            yield "reasoning_summary_part.added", {"summary_index": 0, "part": {"type": "summary_text", "text": ""}}
        else:
            yield "content_part.added", {"content_index": 0, "part": {"type": "reasoning_text", "text": ""}}

    def add(self, text: str) -> Iterator[ResponseEvent]:
        """Add text. Yield its event."""
        self._text += text
        if self._summary:
            yield "reasoning_summary_text.delta", {"summary_index": 0, "delta": text}
        else:
            yield "reasoning_text.delta", {"content_index": 0, "delta": text}

    def closing(self) -> Iterator[ResponseEvent]:
        if self._summary:
            yield "reasoning_summary_text.done", {"summary_index": 0, "text": self._text}
            part = {"type": "summary_text", "text": self._text}
            yield "reasoning_summary_part.done", {"summary_index": 0, "part": part}
        else:
            yield "reasoning_text.done", {"content_index": 0, "text": self._text}
            yield "content_part.done", {"content_index": 0, "part": {"type": "reasoning_text", "text": self._text}}

    def object(self, status: str) -> Object:
        item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": []}
        if status != "in_progress":
            if self._summary:
                item["summary"] = [{"type": "summary_text", "text": self._text}]
            else:
                item["content"] = [{"type": "reasoning_text", "text": self._text}]
            if self._encrypted:
                item["encrypted_content"] = sealed(self._text)
        return item | {"status": status}


class CallItem:
    """A call of a function, whose arguments arrive piece by piece."""

    def __init__(self, identity: str, call: ToolCallDelta, named: NamedTool | None) -> None:
        self.id = f"fc_{identity}"
        self._call_id = call.id or f"call_{identity}"
        self._name = named.name if named is not None else call.name or ""
        self._namespace = named.namespace if named is not None else None
        self._arguments = ""

    def opening(self) -> Iterator[ResponseEvent]:
        yield from ()

    def add(self, arguments: str) -> Iterator[ResponseEvent]:
        """Add a piece of the arguments. Yield its event."""
        self._arguments += arguments
        if arguments:
            yield "function_call_arguments.delta", {"delta": arguments}

    def closing(self) -> Iterator[ResponseEvent]:
        yield "function_call_arguments.done", {"arguments": self._arguments, "name": self._name}

    def object(self, status: str) -> Object:
        item = {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": "" if status == "in_progress" else self._arguments,
        }
        return item | ({"namespace": self._namespace} if self._namespace else {})


class CustomCallItem(CallItem):
    """A call of a custom tool. Its input is known once the arguments are complete."""

    def __init__(self, identity: str, call: ToolCallDelta, named: NamedTool | None) -> None:
        super().__init__(identity, call, named)
        self.id = f"ctc_{identity}"

    def add(self, arguments: str) -> Iterator[ResponseEvent]:
        """Add a piece of the arguments, which has no event."""
        self._arguments += arguments
        yield from ()

    def closing(self) -> Iterator[ResponseEvent]:
        given = input_of(self._arguments)
        yield "custom_tool_call_input.delta", {"delta": given}
        yield "custom_tool_call_input.done", {"input": given}

    def object(self, status: str) -> Object:
        item = {
            "id": self.id,
            "type": "custom_tool_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "input": "" if status == "in_progress" else input_of(self._arguments),
        }
        return item | ({"namespace": self._namespace} if self._namespace else {})


def logprob(entry: TokenLogprob) -> Object:
    """Return a log-probability in the form of the Responses routes."""
    found: dict[str, Any] = {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.bytes)}
    top = [{"token": each.token, "logprob": each.logprob, "bytes": list(each.bytes)} for each in entry.top]
    return found | {"top_logprobs": top}
