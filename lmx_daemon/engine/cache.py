"""Keys and values of finished sequences, kept for prompts that begin alike. In memory, bounded by bytes.

Owned by the engine thread. A stored cache is never changed: a hit is a copy, which costs nothing until it is written.
"""

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_lm.models.cache import can_trim_prompt_cache, trim_prompt_cache

MIN_TOKENS = 8
"""A shorter common beginning is not worth the copy."""


@dataclass(eq=False)
class Entry:
    tokens: npt.NDArray[np.int64]
    cache: list[Any]
    size: int
    used: int


@dataclass(frozen=True)
class Hit:
    cache: list[Any]
    length: int
    """Tokens of the prompt that `cache` holds."""


class PrefixCache:
    """Least recently used goes first; namespaces share nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[str, list[Entry]] = {}
        self._clock = itertools.count()
        self.size = 0

    def find(self, namespace: str, tokens: list[int]) -> Hit | None:
        """The longest stored beginning of `tokens`, one token short of all of them at most: one must be computed."""
        wanted = np.asarray(tokens, np.int64)
        best: tuple[int, Entry] | None = None
        for entry in self._entries.get(namespace, ()):
            length = min(_common(entry.tokens, wanted), len(wanted) - 1)
            usable = length == len(entry.tokens) or can_trim_prompt_cache(entry.cache)
            if usable and length >= MIN_TOKENS and (best is None or length > best[0]):
                best = length, entry
        if best is None:
            return None
        length, entry = best
        entry.used = next(self._clock)
        found = copy.deepcopy(entry.cache)
        surplus = len(entry.tokens) - length
        if surplus and trim_prompt_cache(found, surplus) != surplus:
            return None
        return Hit(found, length)

    def keep(self, namespace: str, tokens: list[int], cache: list[Any]) -> None:
        """Stores a finished sequence's `cache`, which holds exactly `tokens`, and drops what it covers."""
        size = sum(part.nbytes for part in cache)
        if size > self._max_bytes or len(tokens) < MIN_TOKENS:
            return
        mx.eval([part.state for part in cache])  # a lazy slice would keep the whole batch's buffers alive
        kept = np.asarray(tokens, np.int64)
        entries = self._entries.setdefault(namespace, [])
        for entry in list(entries):
            if _common(entry.tokens, kept) == len(entry.tokens) and can_trim_prompt_cache(cache):
                entries.remove(entry)
                self.size -= entry.size
        entries.append(Entry(kept, cache, size, next(self._clock)))
        self.size += size
        self._evict()

    def clear(self) -> None:
        self._entries.clear()
        self.size = 0

    def _evict(self) -> None:
        while self.size > self._max_bytes:
            name, oldest = min(
                ((name, entry) for name, entries in self._entries.items() for entry in entries),
                key=lambda pair: pair[1].used,
            )
            self._entries[name].remove(oldest)
            self.size -= oldest.size


def _common(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> int:
    """The length of the common beginning, in one pass."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length
