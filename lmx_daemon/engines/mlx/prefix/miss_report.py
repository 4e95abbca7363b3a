"""The last prompts: which of them a new one is most like, where it leaves it, and why more was not reused. Decisions
only, on numbers and text; it knows no caches.
"""

import re
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.prefix.keys import BLOCK

WORTH = 64
"""Fewer tokens are computed sooner than they are waited for, or missed."""
TAIL = 16
"""The tokens that open an answer are no part of the next turn's prompt; a template's are fewer than these."""
RECENT = 32
"""Prompts that are remembered, to tell where the next one leaves them."""
AROUND = 12
"""Tokens on both sides of a difference that are looked at."""
CLOCK = re.compile(r"\d{1,2}:\d{2}|\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\b1[6-9]\d{8}\b")

Tokens = npt.NDArray[np.int32]


class RecentPrompts:
    def __init__(self, decode: Callable[[list[int]], str], think: str | None) -> None:
        self._decode = decode
        self._think = think
        self._prompts: deque[tuple[str, Tokens]] = deque(maxlen=RECENT)

    def add(self, namespace: str, tokens: Tokens) -> None:
        self._prompts.append((namespace, tokens))

    def cut(self, tokens: Tokens, held: int) -> None:
        """Of a prompt that ended early only so much was ever computed, and can be missed."""
        for place, (namespace, other) in enumerate(self._prompts):
            if other is tokens and held < len(tokens) - 1:
                self._prompts[place] = namespace, tokens[:held]

    def nearest(self, namespace: str, tokens: Tokens) -> tuple[Tokens | None, int]:
        """The one that shares the longest beginning, and how long that is."""
        best: tuple[Tokens | None, int] = None, -1
        for other, earlier in self._prompts:
            if other == namespace and may_share(earlier, tokens, best[1] + 1):
                common = common_length(earlier, tokens)
                best = (earlier, common) if common > best[1] else best
        return best[0], max(best[1], 0)

    def explain(
        self, nearest: Tokens | None, tokens: Tokens, common: int, cached: int, *, trimmable: bool
    ) -> tuple[int | None, str]:
        """(first differing position, why): why is empty where all that could be expected was reused."""
        if cached > common:  # blocks outlive the prompts that are remembered, a restart for one
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


def may_share(a: Tokens, b: Tokens, length: int) -> bool:
    """False for most of those that do not begin alike for so many tokens, at the cost of one of them."""
    return length <= min(len(a), len(b)) and (length < 1 or bool(a[length - 1] == b[length - 1]))


def common_length(a: Tokens, b: Tokens) -> int:
    """The length of the common beginning, in one pass."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length


def difference(was: str, now: str, position: int, think: str | None) -> str:
    """What seems to have changed, from the text around the first difference."""
    if CLOCK.search(was) and CLOCK.search(now):
        return "a time or date in the prompt changed"
    if think and (think in was) != (think in now):
        return "thinking was left out"
    if position < BLOCK:
        return "the beginning changed: template, tools or system prompt"
    return "the text changed"
