"""Decisions about one model: hangs, expiry, restarts, withdrawal of loads, and prompts that are too long. Pure.

placement.py decides which models fit into memory and which are evicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from lmx_daemon.contract.errors import ContextLengthError, prompt_too_long
from lmx_daemon.contract.generation.requests import Chat, Prompt, Text, Tool

Purpose = Literal["load", "requests", "restore"]
"""Cause of a load: an explicit load or pin, waiting requests, or the return of a model whose eviction did not help."""
RETRY_SECONDS = 5.0
"""Time for which a running load waits for the next request. Clients with a timeout repeat a request within it."""
FAR_ALONG = 0.5
"""Fraction of the weights from which an unneeded load is completed, since the next request probably needs it."""
BACKOFF_SECONDS = 1.0
"""Delay of a start after the second crash; it doubles with each further one."""
CHARACTERS = 128
"""Upper bound on characters per token, set by the longest known whitespace tokens."""


@dataclass(frozen=True)
class Beat:
    """Signs of a worker's progress, in monotonic seconds."""

    heard_at: float
    """Time of its last heartbeat."""
    progressed_at: float
    """Time when it last finished a step, or was last idle."""
    busy: bool
    """Whether the worker has work."""


@dataclass(frozen=True)
class Start:
    """Decision about the next start of a model."""

    wait: float = 0.0
    """Seconds to wait before the start."""
    refused_for: float | None = None
    """Seconds for which starts are refused; None if they are allowed."""


@dataclass(frozen=True)
class LoadState:
    """State of a load, from which its withdrawal is decided."""

    purpose: Purpose
    waiting: int
    """Number of requests that wait for it."""
    begun: bool
    """Whether the load has claimed its memory, so that models to evict are leaving."""
    evicts: bool
    """Whether other models were unloaded for it."""
    progress: float
    """Fraction of the weights that are read."""
    unneeded_for: float = 0.0
    """Seconds since the last waiting request ended."""


def may_evict(purpose: Purpose, waiting: int) -> bool:
    """Return whether other models may be unloaded for a load. Nothing is evicted for a load that nothing waits for."""
    return purpose == "load" or waiting > 0


def is_withdrawn(load: LoadState) -> bool:
    """Return whether a load is to be cancelled because no request waits for it any more.

    A load that has not begun is cancelled at once. One that has begun is cancelled after RETRY_SECONDS,
    but is completed if it is far along and evicted no other model.
    """
    if load.purpose != "requests" or load.waiting:
        return False
    if not load.begun:
        return True
    if not load.evicts and load.progress >= FAR_ALONG:
        return False
    return load.unneeded_for >= RETRY_SECONDS


def hopeless_prompt(prompt: Prompt, context: int) -> ContextLengthError | None:
    """Return the error of a prompt that cannot fit, else None. Rendering and counting it would delay other requests.

    A template that drops old turns could make a legal prompt of more than CHARACTERS for each token of the context;
    such a request is refused nevertheless.
    """
    match prompt:
        case Chat(tools=tools):
            of_tools = sum(map(_size_of_tool, tools))
            size = of_tools + _size_of_chat(prompt)
            param = "tools" if of_tools > size - of_tools else "messages"
        case Text(text=text):
            size, param = len(text), "prompt"
        case _:
            return None
    if size <= context * CHARACTERS:
        return None
    least = size // CHARACTERS + 1
    return prompt_too_long(least, context, param, because=f"at least, of {size} characters; not counted")


def _size_of_chat(chat: Chat) -> int:
    """Return the number of characters that a template may use, without those of tools."""
    calls = [call for message in chat.messages for call in message.tool_calls]
    return (
        sum(len(message.text) + len(message.reasoning or "") for message in chat.messages)
        + sum(len(call.name) + len(call.arguments) for call in calls)
        + sum(len(value) for value in chat.template_arguments.values() if isinstance(value, str))
    )


def _size_of_tool(tool: Tool) -> int:
    return len(tool.name) + len(tool.description) + len(msgspec.json.encode(tool.parameters).decode())


def stalled_for(beat: Beat, now: float, since: float = 0.0) -> float:
    """Return the seconds after `since` without a sign of progress: no heartbeat, or work without a finished step."""
    last = min(beat.heard_at, beat.progressed_at) if beat.busy else beat.heard_at
    return now - max(last, since)


def exceeded(
    beat: Beat, now: float, since: float, *, loading: bool, greeted: bool, hang: float, load: float
) -> float | None:
    """Return the limit, in seconds, that a worker has exceeded; None if it makes progress.

    A load has `load` seconds for each sign of progress, since one of its steps may read or compute much. A worker that
    has sent its first message (`greeted`) has `hang` seconds between two heartbeats, and for each step once it is
    loaded.
    """
    stalled = stalled_for(beat, now, since)
    if not loading:
        return hang if stalled > hang else None
    if greeted and now - max(beat.heard_at, since) > hang:
        return hang
    return load if stalled > load else None


def start_after(crashes: Sequence[float], now: float, limit: int, window: float) -> Start:
    """Return the decision about the next start of a model that crashed at the times `crashes`.

    Starts back off, and are refused from `limit` crashes within `window` on.
    """
    recent = sorted(crash for crash in crashes if now - crash < window)
    if len(recent) >= limit:
        return Start(refused_for=recent[-limit] + window - now)
    if len(recent) <= 1:
        return Start()
    backoff = BACKOFF_SECONDS * 2.0 ** (len(recent) - 2)
    return Start(wait=max(0.0, recent[-1] + backoff - now))


def reduced(size: int, least: int, times: int) -> int:
    """Return `size` halved once for each of the `times` that a model ran out of memory, but not below `least`."""
    return max(min(size, least), size >> times)


def expires_at(used_at: float, ttl: float | None, in_use: bool) -> float | None:
    """Return the time at which a model is to be unloaded; None if it is in use, or if `ttl` is None or negative."""
    if ttl is None or ttl < 0 or in_use:
        return None
    return used_at + ttl
