"""Encoder of /v1/responses: events to the response object and to its stream of events.

A stream begins with response.created and ends with exactly one of response.completed, .incomplete and .failed.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Delta, Event, Finished, ToolCallDelta
from lmx_daemon.http.dialects.openai_responses.bodies import Object, ResponsesBody
from lmx_daemon.http.dialects.openai_responses.output_items import (
    CallItem,
    CustomCallItem,
    MessageItem,
    OutputItem,
    ReasoningItem,
    ResponseEvent,
)
from lmx_daemon.http.dialects.openai_responses.response_object import ResponseFrame
from lmx_daemon.http.dialects.openai_responses.tool_table import ToolTable
from lmx_daemon.http.dialects.sse import named_event


class ResponsesEncoder:
    """The state of one answer: the items that are complete, and the one that grows."""

    def __init__(self, frame: ResponseFrame, body: ResponsesBody, table: ToolTable) -> None:
        self.frame, self._body, self._table = frame, body, table
        self._output: list[Object] = []
        self._item: OutputItem | None = None
        self._call_index: int | None = None
        """Index of the call that grows, as the engine counts."""
        self._sequence = 0
        self._begun = False

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the bytes that `events` add to the stream."""
        found = list(self._opening())
        for event in events:
            match event:
                case Delta():
                    found += self._delta(event)
                case Finished():
                    found += self._finish(event)
        return b"".join(self._encoded(kind, fields) for kind, fields in found)

    def failed(self, error: LmxError) -> bytes:
        """Return the event that ends a stream whose request has failed."""
        found = [*self._opening(), *self._close("incomplete")]
        found.append(("failed", {"response": self.frame.object("failed", self._output, error=error)}))
        return b"".join(self._encoded(kind, fields) for kind, fields in found)

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the response object as JSON."""
        return msgspec.json.encode(self.response(events))

    def response(self, events: Sequence[Event]) -> Object:
        """Return the response object of complete events. It does not change the state of a stream."""
        fresh = ResponsesEncoder(self.frame, self._body, self._table)
        for event in events:
            if isinstance(event, Delta):
                for _ in fresh._delta(event):
                    pass
        finished = events[-1]
        assert isinstance(finished, Finished)
        return fresh._ended(finished)[1]

    def _opening(self) -> Iterator[ResponseEvent]:
        if not self._begun:
            self._begun = True
            for kind in ("created", "in_progress"):
                yield kind, {"response": self.frame.object("in_progress", [])}

    def _delta(self, delta: Delta) -> Iterator[ResponseEvent]:
        if delta.reasoning:
            if not isinstance(self._item, ReasoningItem):
                item = ReasoningItem(self._identity(), summary=self._body.summary, encrypted=self._body.encrypted)
                yield from self._begin(item)
            assert isinstance(self._item, ReasoningItem)
            yield from self._located(self._item.add(delta.reasoning))
        if delta.content or (delta.logprobs and isinstance(self._item, MessageItem)):
            if not isinstance(self._item, MessageItem):
                yield from self._begin(MessageItem(self._identity()))
            assert isinstance(self._item, MessageItem)
            yield from self._located(self._item.add(delta.content, delta.logprobs))
        if delta.tool_call is not None:
            yield from self._called(delta.tool_call)

    def _called(self, call: ToolCallDelta) -> Iterator[ResponseEvent]:
        if not isinstance(self._item, CallItem) or self._call_index != call.index:
            named = self._table.tools.get(call.name or "")
            kind = CustomCallItem if named is not None and named.custom else CallItem
            yield from self._begin(kind(self._identity(), call, named))
            self._call_index = call.index
        assert isinstance(self._item, CallItem)
        yield from self._located(self._item.add(call.arguments))

    def _begin(self, item: OutputItem) -> Iterator[ResponseEvent]:
        """Yield the end of the item before, and the begin of `item`."""
        yield from self._close("completed")
        self._item = item
        yield "output_item.added", {"output_index": len(self._output), "item": item.object("in_progress")}
        yield from self._located(item.opening())

    def _close(self, status: str) -> Iterator[ResponseEvent]:
        """Yield the end of the item that grows."""
        if (item := self._item) is None:
            return
        yield from self._located(item.closing())
        done = item.object(status)
        yield "output_item.done", {"output_index": len(self._output), "item": done}
        self._output.append(done)
        self._item = None

    def _located(self, events: Iterator[ResponseEvent]) -> Iterator[ResponseEvent]:
        """Yield the events of the item that grows, with its id and its position."""
        assert self._item is not None
        for kind, fields in events:
            yield kind, {"item_id": self._item.id, "output_index": len(self._output)} | fields

    def _finish(self, finished: Finished) -> Iterator[ResponseEvent]:
        yield from self._close("incomplete" if finished.reason == "length" else "completed")
        kind, response = self._ended(finished)
        yield kind, {"response": response}

    def _ended(self, finished: Finished) -> ResponseEvent:
        """Return the last event's type and the final response object."""
        for _ in self._close("incomplete" if finished.reason == "length" else "completed"):
            pass
        if finished.reason == "length":
            return "incomplete", self.frame.object(
                "incomplete", self._output, usage=finished.usage, incomplete="max_output_tokens"
            )
        status = "cancelled" if finished.reason == "cancelled" else "completed"
        now = int(time.time()) if status == "completed" else None
        return "completed", self.frame.object(status, self._output, usage=finished.usage, completed_at=now)

    def _identity(self) -> str:
        """Return the varying part of an item's id, the same whole and streamed."""
        return f"{self.frame.id.removeprefix('resp_')}_{len(self._output) + (self._item is not None)}"

    def _encoded(self, kind: str, fields: Object) -> bytes:
        sequence, self._sequence = self._sequence, self._sequence + 1
        return named_event(f"response.{kind}", sequence_number=sequence, **fields)
