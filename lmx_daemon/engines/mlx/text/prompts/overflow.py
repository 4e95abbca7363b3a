"""Prompts above the context: which tokens or messages are left out, by the policy that a request names.

Decisions only: a caller builds the prompts, and reports the number of tokens that were left out.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from lmx_daemon.contract.generation.requests import Message

LONGEST = 8
"""Longest prompt that is shortened, in contexts. Tokenising a longer one would delay other prompts."""
MOST_COUNTED = 2**18
"""Tokens up to which a prompt is counted at least, whatever the context: agents count conversations of 200,000."""
MESSAGE_CHARACTERS = 16
"""Characters that count for a message in addition to its text: its role and its ends."""


def room_for_answer(context: int, max_tokens: int | None) -> int:
    """Return the tokens that a shortened prompt leaves for the answer: `max_tokens`, at most a quarter of all."""
    return max(1, min(max_tokens or context, context // 4))


def without_middle(tokens: Sequence[int], most: int) -> list[int]:
    """Return the first and the last tokens, `most` in all."""
    head = (most + 1) // 2
    return [*tokens[:head], *tokens[len(tokens) - (most - head) :]]


def without_oldest_tokens(tokens: Sequence[int], most: int) -> list[int]:
    """Return the last `most` tokens."""
    return list(tokens[len(tokens) - most :])


def without_oldest(messages: Sequence[Message], start: int) -> tuple[Message, ...]:
    """Return the system messages, and the other messages from position `start` on."""
    return tuple(message for place, message in enumerate(messages) if place >= start or message.role == "system")


def first_kept(messages: Sequence[Message], spacing: int, fits: Callable[[int], bool]) -> int | None:
    """Return the position of the oldest message that is kept so that the prompt `fits`; None if none fits.

    Positions about `spacing` characters apart are preferred. They stay the same while a conversation grows, so that
    following prompts begin with the same messages and reuse their stored prefix.
    """
    starts = _starts(messages)
    coarse = _spaced(messages, starts, spacing)
    for positions in (coarse, [start for start in starts if not coarse or start > coarse[-1]]):
        place = bisect_left(positions, True, key=fits)
        if place < len(positions):
            return positions[place]
    return None


def _starts(messages: Sequence[Message]) -> list[int]:
    """Return the positions at which a shortened conversation may begin; a tool's result stays with its call."""
    return [place for place, message in enumerate(messages) if place and message.role in ("user", "assistant")]


def _spaced(messages: Sequence[Message], starts: Sequence[int], spacing: int) -> list[int]:
    """Return the first of `starts` behind each multiple of `spacing` characters."""
    ends, total = [0], 0
    for message in messages:
        total += _length(message)
        ends.append(total)
    found: list[int] = []
    reached = 0
    for start in starts:
        if ends[start] // spacing > reached:
            reached = ends[start] // spacing
            found.append(start)
    return found


def _length(message: Message) -> int:
    calls = sum(len(call.arguments) for call in message.tool_calls)
    return MESSAGE_CHARACTERS + len(message.text) + len(message.reasoning or "") + calls
