"""The `context` of /api/generate: a conversation as a list of integers, which clients send back unread.

Ollama puts token ids there. This server needs the messages, since the template renders the whole conversation anew. So
the integers hold the texts: a mark, then two bytes of the messages' JSON in each.
"""

from collections.abc import Sequence

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Message, TextPart

MARK = 7_105_912
"""First integer of a context that this server made. It is above the token ids of all vocabularies."""


def packed(messages: Sequence[Message]) -> list[int]:
    """Return the conversation as integers."""
    data = msgspec.json.encode([[message.role, message.text] for message in messages])
    data += b" " * (len(data) % 2)
    return [MARK, *(high * 256 + low for high, low in zip(data[::2], data[1::2], strict=True))]


def unpacked(context: Sequence[int]) -> list[Message]:
    """Return the conversation that `packed` made. Raise RequestError for any other list."""
    try:
        if context[0] != MARK:
            raise ValueError("no mark")
        data = b"".join(number.to_bytes(2, "big") for number in context[1:])
        turns = msgspec.json.decode(data, type=list[tuple[str, str]])
        return [turn_of(role, text) for role, text in turns]
    except (ValueError, OverflowError, msgspec.DecodeError):
        raise RequestError(
            "context: this is not a context that lmx returned",
            param="context",
            hint="send the context of the last answer unchanged, or use /api/chat",
        ) from None


def turn_of(role: str, text: str) -> Message:
    """Return a message of a stored conversation. Raise ValueError for an unknown role."""
    if role not in ("system", "user", "assistant"):
        raise ValueError(role)
    return Message(role=role, content=(TextPart(text=text),))  # type: ignore[arg-type]  # checked above
