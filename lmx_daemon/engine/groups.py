"""Rows of about the same length that decode together, in mlx-lm's batch caches; and which row goes where.

A group is a rectangle as wide as its longest row. A group of one keeps the row's own caches: no mask, no copy.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache

NEAR = 64
"""Tokens of padding that never matter."""
STEPS = 32, 256
"""A group grows by an eighth of its width, within these bounds: room that no token needs yet stays small."""
RATIO = 0.25
"""Padding, as a part of what a group holds, above which a row gets a group of its own."""


@dataclass(frozen=True)
class Shape:
    """A group as `place` sees it."""

    width: int
    rows: int


def place(shapes: Sequence[Shape], length: int, room: int = NEAR) -> int | None:
    """The group where one more row of `length` tokens wastes least, or None where a new one is better.

    `room`: tokens of padding that cost less than one more group does.
    """
    best: tuple[int, int] | None = None
    for index, shape in enumerate(shapes):
        wasted = (length - shape.width) * shape.rows if length > shape.width else shape.width - length
        held = max(length, shape.width) * (shape.rows + 1)
        if wasted <= max(room, RATIO * held) and (best is None or wasted < best[0]):
            best = wasted, index
    return None if best is None else best[1]


class Group:
    """`rows` in the order of the batch axis."""

    def __init__(self, row: int, length: int, caches: list[Any]) -> None:
        self.rows = [row]
        self._lengths = [length]
        self._caches = caches
        self._single = True

    @property
    def shape(self) -> Shape:
        return Shape(max(self._lengths), len(self.rows))

    @property
    def mergeable(self) -> bool:
        return all(hasattr(cache, "merge") for cache in self._caches)

    @property
    def bytes(self) -> int:
        return sum(cache.nbytes for cache in self._caches)

    def forward(self, model: Any, tokens: mx.array) -> mx.array:
        """Logits [rows, vocabulary] of one more token for each row."""
        self._lengths = [length + 1 for length in self._lengths]
        logits: mx.array = model(tokens[:, None], cache=self._caches)
        return logits[:, -1, :]

    def join(self, row: int, length: int, caches: list[Any]) -> None:
        self._widen()
        for cache, one in zip(self._caches, caches, strict=True):
            cache.extend(one.merge([one]))
            if type(cache) is BatchKVCache:
                cache.step = min(STEPS[1], max(STEPS[0], cache.size() // 8 // STEPS[0] * STEPS[0]))
        self.rows.append(row)
        self._lengths.append(length)

    def extract(self, row: int) -> list[Any]:
        """The row's caches, as they are when it has left or will compute no more."""
        if self._single:
            return self._caches
        index = self.rows.index(row)
        return [cache.extract(index) for cache in self._caches]

    def leave(self, rows: set[int]) -> None:
        """What stays goes on; a group that nobody stays in must not be used any more."""
        keep = [index for index, row in enumerate(self.rows) if row not in rows]
        self.rows = [self.rows[index] for index in keep]
        self._lengths = [self._lengths[index] for index in keep]
        if not self.rows:
            self._caches = []
        elif not self._single:
            for cache in self._caches:
                cache.filter(keep)

    def _widen(self) -> None:
        if self._single:
            self._caches = [cache.merge([cache]) for cache in self._caches]
            self._single = False


def fork(caches: list[Any]) -> list[Any]:
    """The same content, to go another way. Costs nothing until it is written."""
    return copy.deepcopy(caches)
