"""Compaction: the model summarises a conversation, and the summary is the only item that the client keeps."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.generation.events import Delta, Event, Finished
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, TextPart
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.dialects.openai_responses.items import sealed
from lmx_daemon.http.dialects.openai_responses.response_object import new_response_id, usage_of
from lmx_daemon.http.service import ModelService

INSTRUCTION = (
    "Summarise this conversation for an assistant that continues it without seeing it. Keep the task, decisions, "
    "facts, file names, and what remains to be done. Write the summary only."
)
MAX_SUMMARY_TOKENS = 4096


async def compacted(request: AnyRequest, service: ModelService, generate: Generate) -> dict[str, Any]:
    """Return the compacted response. Raise the error of the model."""
    prompt = generate.prompt
    assert isinstance(prompt, Chat)
    asked = Message(role="user", content=(TextPart(text=INSTRUCTION),))
    summarise = msgspec.structs.replace(
        generate,
        prompt=msgspec.structs.replace(prompt, messages=(*prompt.messages, asked)),
        max_tokens=MAX_SUMMARY_TOKENS,
        constraint=None,
    )
    events = await service.complete(request, summarise)
    finished = events[-1]
    assert isinstance(finished, Finished)
    return {
        "id": new_response_id(generate.id),
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [{"id": f"cmp_{generate.id}", "type": "compaction", "encrypted_content": sealed(text_of(events))}],
        "usage": usage_of(finished.usage),
    }


def text_of(events: Sequence[Event]) -> str:
    """Return the content of an answer; its reasoning if there is no content."""
    deltas = [event for event in events if isinstance(event, Delta)]
    return "".join(delta.content for delta in deltas) or "".join(delta.reasoning for delta in deltas)
