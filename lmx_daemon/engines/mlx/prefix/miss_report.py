"""The miss report: which recent prompt a new one resembles most, where they differ, and why less was reused.

Decisions on numbers and text only; it has no access to caches.
"""

import re
from collections import deque
from collections.abc import Callable

import numpy as np

from lmx_daemon.engines.mlx.arrays import TokenArray
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK

WORTH = 64
"""Number of tokens below which computing them costs less than waiting, and a miss is not reported."""
TAIL = 16
"""Upper bound on the tokens with which a template opens an answer; they are not part of the next turn's prompt."""
RECENT = 32
"""Number of prompts that are kept."""
AROUND = 12
"""Tokens on each side of the first difference that are decoded for the report."""
CLOCK = re.compile(r"\d{1,2}:\d{2}|\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\b1[6-9]\d{8}\b")


class RecentPrompts:
    """The last prompts of all namespaces."""

    def __init__(self, decode: Callable[[list[int]], str], think: str | None) -> None:
        self._decode = decode
        self._think = think
        self._prompts: deque[tuple[str, TokenArray]] = deque(maxlen=RECENT)

    def add(self, namespace: str, tokens: TokenArray) -> None:
        """Add a prompt that starts."""
        self._prompts.append((namespace, tokens))

    def truncate(self, tokens: TokenArray, held: int) -> None:
        """Cut a prompt that ended early to the `held` tokens that were computed: only those can be missed."""
        for place, (namespace, other) in enumerate(self._prompts):
            if other is tokens and held < len(tokens) - 1:
                self._prompts[place] = namespace, tokens[:held]

    def nearest(self, namespace: str, tokens: TokenArray) -> tuple[TokenArray | None, int]:
        """Return the prompt with the longest common prefix, and its length."""
        best: tuple[TokenArray | None, int] = None, -1
        for other, earlier in self._prompts:
            if other == namespace and may_share(earlier, tokens, best[1] + 1):
                common = common_length(earlier, tokens)
                best = (earlier, common) if common > best[1] else best
        return best[0], max(best[1], 0)

    def explain(
        self, nearest: TokenArray | None, tokens: TokenArray, common: int, cached: int, *, trimmable: bool
    ) -> tuple[int | None, str]:
        """Return the first differing position and the reason of a miss; "" if nothing more could be expected."""
        if cached > common:  # stored blocks can be older than the recent prompts, as after a restart
            return (cached, "no more of it was known") if len(tokens) - cached >= WORTH else (None, "")
        if nearest is None:
            return None, ""
        shorter = min(len(nearest), len(tokens))
        first = common if common < len(tokens) else None
        if min(common, len(tokens) - 1) - cached >= BLOCK:
            return first, "evicted" if trimmable else "no checkpoint there"
        if first is None or common >= shorter - TAIL or len(tokens) - cached < WORTH:
            return first, ""
        there = slice(max(common - AROUND, 0), common + AROUND)
        was, now = (self._decode(each[there].tolist()) for each in (nearest, tokens))
        return first, difference(was, now, common, self._think)


def may_share(a: TokenArray, b: TokenArray, length: int) -> bool:
    """Return False for most prompts whose common prefix is shorter than `length`; compares one token only."""
    return length <= min(len(a), len(b)) and (length < 1 or bool(a[length - 1] == b[length - 1]))


def common_length(a: TokenArray, b: TokenArray) -> int:
    """Return the length of the common prefix."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length


def difference(was: str, now: str, position: int, think: str | None) -> str:
    """Return the probable change, judged by the text around the first difference."""
    if CLOCK.search(was) and CLOCK.search(now):
        return "a time or date in the prompt changed"
    if think and (think in was) != (think in now):
        return "thinking was left out"
    if position < BLOCK:
        return "the beginning changed: template, tools or system prompt"
    return "the text changed"
