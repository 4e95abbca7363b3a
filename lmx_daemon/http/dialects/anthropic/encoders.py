"""Encoder of /v1/messages: events to a whole message and to the events of a stream. It uses no sockets."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Started, Usage
from lmx_daemon.http.dialects.anthropic.call_ids import sent
from lmx_daemon.http.dialects.anthropic.errors import anthropic_error
from lmx_daemon.http.dialects.sse import named_event

SIGNATURE = "lmx"
"""Signature of a thinking block. Clients keep only blocks that have one; lmx does not check it."""


class BlockPiece(NamedTuple):
    """A piece of one content block. `call` is the index of a tool call, -1 for text and thinking."""

    kind: str
    text: str
    call: int = -1
    id: str = ""
    name: str = ""

    def opens(self) -> dict[str, Any]:
        """Return the block as it is before its first piece."""
        match self.kind:
            case "thinking":
                return {"type": "thinking", "thinking": "", "signature": ""}
            case "tool_use":
                return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}
            case _:
                return {"type": "text", "text": ""}


def pieces_of(delta: Delta) -> list[BlockPiece]:
    """Return what an event adds to the blocks: thinking first, then text, then a tool call."""
    pieces = []
    if delta.reasoning:
        pieces.append(BlockPiece("thinking", delta.reasoning))
    if delta.content:
        pieces.append(BlockPiece("text", delta.content))
    if (call := delta.tool_call) is not None:
        pieces.append(BlockPiece("tool_use", call.arguments, call.index, sent(call.id or ""), call.name or ""))
    return pieces


class MessageEncoder:
    """Encoder of one message."""

    def __init__(self, identity: str, model: str, max_tokens: int, stop_sequences: Sequence[str] = ()) -> None:
        self._identity = identity
        self._message: dict[str, Any] = {
            "id": f"msg_{identity}",
            "type": "message",
            "role": "assistant",
            "model": model,
        }
        self._max_tokens = max_tokens
        self._stop_sequences = frozenset(stop_sequences)
        self._started = False
        self._index = -1
        """Index of the last block."""
        self._open: tuple[str, int] | None = None
        """Kind and call of the open block. At most one block is open, and a closed one is never written to again."""
        self._before = b""
        """Bytes of a delta of the open block before its text. They are the same for all, so they are encoded once."""

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the bytes that `events` add to the stream."""
        return b"".join([self._bytes(event) for event in events])

    def _bytes(self, event: Event) -> bytes:
        match event:
            case Delta():
                return self._start(Usage()) + b"".join([self._piece(piece) for piece in pieces_of(event)])
            case Started():
                return self._start(Usage(prompt_tokens=event.prompt_tokens, cached_tokens=event.cached_tokens))
            case Finished():
                end = named_event("message_delta", delta=self._ending(event), usage=usage_of(event.usage))
                return self._start(event.usage) + self._close() + end + named_event("message_stop")
            case _:
                return b""

    def _start(self, usage: Usage) -> bytes:
        """Return the first event of the stream, b"" after it."""
        if self._started:
            return b""
        self._started = True
        message: dict[str, Any] = {
            **self._message,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(usage),
        }
        return named_event("message_start", message=message)

    def _piece(self, piece: BlockPiece) -> bytes:
        opening = b""
        if self._open != (piece.kind, piece.call):
            opening = self._close()
            self._open = (piece.kind, piece.call)
            self._index += 1
            opening += named_event("content_block_start", index=self._index, content_block=piece.opens())
            self._before = before_text(self._index, piece.kind)
        return opening + self._before + msgspec.json.encode(piece.text) + AFTER_TEXT

    def _close(self) -> bytes:
        """Return the end of the open block, b"" where none is open."""
        if self._open is None:
            return b""
        signature = b""
        if self._open[0] == "thinking":
            delta = {"type": "signature_delta", "signature": SIGNATURE}
            signature = named_event("content_block_delta", index=self._index, delta=delta)
        self._open = None
        return signature + named_event("content_block_stop", index=self._index)

    def failed(self, error: LmxError) -> bytes:
        """Return the error object as the last event."""
        return named_event("error", **anthropic_error(error, self._identity))

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the message as one JSON object."""
        finished = events[-1]
        assert isinstance(finished, Finished)
        content = [whole_block(pieces) for pieces in grouped(events)]
        ending = {**self._ending(finished), "usage": usage_of(finished.usage)}
        return msgspec.json.encode({**self._message, "content": content, **ending})

    def _ending(self, finished: Finished) -> dict[str, Any]:
        reason = stop_reason(finished.endings[0], finished.usage, self._max_tokens, self._stop_sequences)
        matched = finished.endings[0].matched_stop if reason == "stop_sequence" else None
        return {"stop_reason": reason, "stop_sequence": matched}


DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
"""Type of a block's delta, and the name of its text."""
AFTER_TEXT = b"}}\n\n"


def before_text(index: int, kind: str) -> bytes:
    """Return the bytes of a delta of block `index` up to its text. AFTER_TEXT follows the text."""
    kind, name = DELTAS[kind]
    event = named_event("content_block_delta", index=index, delta={"type": kind, name: ""})
    return event.removesuffix(b'""' + AFTER_TEXT)


def grouped(events: Sequence[Event]) -> list[list[BlockPiece]]:
    """Return the pieces of each block, in the order of the blocks."""
    found: list[list[BlockPiece]] = []
    for piece in (piece for event in events if isinstance(event, Delta) for piece in pieces_of(event)):
        if found and (found[-1][0].kind, found[-1][0].call) == (piece.kind, piece.call):
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def whole_block(pieces: Sequence[BlockPiece]) -> dict[str, Any]:
    """Return a block with the texts of all its pieces."""
    block, text = pieces[0].opens(), "".join(piece.text for piece in pieces)
    match pieces[0].kind:
        case "thinking":
            return block | {"thinking": text, "signature": SIGNATURE}
        case "tool_use":
            return block | {"input": input_of(text)}
        case _:
            return block | {"text": text}


def input_of(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call as an object, which clients require.

    Arguments that are no JSON object are returned as the field `arguments` of one.
    """
    try:
        found = msgspec.json.decode(arguments) if arguments.strip() else {}
    except (msgspec.DecodeError, RecursionError):
        found = arguments
    return found if isinstance(found, dict) else {"arguments": found}


def stop_reason(ending: Ending, usage: Usage, max_tokens: int, stop_sequences: frozenset[str]) -> str:
    """Return Anthropic's stop reason of an answer. A cancelled answer has none."""
    match ending.reason:
        case "tool_calls":
            return "tool_use"
        case "length":
            return "max_tokens" if usage.completion_tokens >= max_tokens else "model_context_window_exceeded"
        case _:
            return "stop_sequence" if ending.matched_stop in stop_sequences else "end_turn"


def usage_of(usage: Usage) -> dict[str, Any]:
    """Return the counts. Anthropic's `input_tokens` are those that were not found in the cache."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
