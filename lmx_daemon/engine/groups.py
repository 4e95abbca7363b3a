"""Rows of about the same length that decode together, in mlx-lm's batch caches; and which row goes where.

A group is a rectangle as wide as its longest row. A group of one keeps the row's own caches: no mask, no copy.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache

from lmx_daemon.engine import ragged

STEPS = 32, 256
"""A group grows by an eighth of its width, within these bounds: room that no token needs yet stays small."""
RATIO = 0.25
"""Padding, as a part of what a group holds, that is always taken."""
ROOM = 64, 2048
"""Padding in tokens that costs less than reading the weights once more for another group, within these bounds."""


@dataclass(frozen=True)
class Shape:
    """A group as `place` sees it: its longest row, its rows, and the tokens of all of them."""

    width: int
    rows: int
    tokens: int


def place(shapes: Sequence[Shape], length: int, room: int = ROOM[0]) -> int | None:
    """The group where one more row of `length` tokens adds least padding, or None where a new one is better."""
    best: tuple[int, int] | None = None
    for index, shape in enumerate(shapes):
        held = max(length, shape.width) * (shape.rows + 1)
        padding = held - shape.tokens - length
        added = padding - (shape.width * shape.rows - shape.tokens)
        if padding <= max(room, RATIO * held) and (best is None or added < best[0]):
            best = added, index
    return None if best is None else best[1]


def room_of(weights: int, token: int) -> int:
    """Tokens of padding, of `token` bytes each, that are read as quickly as all `weights`."""
    return max(ROOM[0], min(ROOM[1], weights // token if token else 0))


class Group:
    """`rows` in the order of the batch axis."""

    def __init__(self, row: int, length: int, caches: list[Any]) -> None:
        self.rows = [row]
        self._lengths = [length]
        self._caches = caches
        self._single = True
        self._joining: list[list[Any]] = []
        """Caches of the last rows, not in `_caches` yet: all that join in one step are copied once."""

    @property
    def shape(self) -> Shape:
        return Shape(max(self._lengths), len(self.rows), sum(self._lengths))

    @property
    def bytes(self) -> int:
        return sum(cache.nbytes for cache in self.caches)

    @property
    def caches(self) -> list[Any]:
        """One for each layer, with all rows."""
        if self._joining:
            rows = [self._caches, *self._joining] if self._single else self._joining
            merged = [parts[0].merge(list(parts)) for parts in zip(*rows, strict=True)]
            if self._single:
                self._caches, self._single = merged, False
            else:
                for cache, more in zip(self._caches, merged, strict=True):
                    cache.extend(more)
            for cache in self._caches:
                if type(cache) is BatchKVCache:
                    cache.step = min(STEPS[1], max(STEPS[0], cache.size() // 8 // STEPS[0] * STEPS[0]))
            self._joining = []
        return self._caches

    def grew(self) -> None:
        """Every row has one token more."""
        self._lengths = [length + 1 for length in self._lengths]

    def join(self, row: int, length: int, caches: list[Any]) -> None:
        self._joining.append(caches)
        self.rows.append(row)
        self._lengths.append(length)

    def extract(self, row: int) -> list[Any]:
        """The row's caches, as they are when it has left or will compute no more."""
        caches = self.caches
        if self._single:
            return caches
        index = self.rows.index(row)
        return [cache.extract(index) for cache in caches]

    def leave(self, rows: set[int]) -> None:
        """What stays goes on; a group that nobody stays in must not be used any more."""
        caches = self.caches
        keep = [index for index, row in enumerate(self.rows) if row not in rows]
        if len(keep) == 1 and not self._single:
            self._caches, self._single = [cache.extract(keep[0]) for cache in caches], True
        elif not self._single:
            for cache in caches if keep else ():
                cache.filter(keep)
        if not keep:
            self._caches = []
        self.rows = [self.rows[index] for index in keep]
        self._lengths = [self._lengths[index] for index in keep]


def forward(model: Any, tokens: mx.array, groups: Sequence[Group], *, joined: bool) -> mx.array:
    """Logits [rows, vocabulary] of one more token for every row, in the order of the groups; `joined`: in one call."""
    for group in groups:
        group.grew()
    if len(groups) == 1:
        logits: mx.array = model(tokens[:, None], cache=groups[0].caches)
        return logits[:, -1]
    if joined:
        return ragged.forward(model, tokens, [(len(group.rows), group.caches) for group in groups])
    found, begin = [], 0
    for group in groups:
        end = begin + len(group.rows)
        found.append(model(tokens[begin:end, None], cache=group.caches)[:, -1])
        begin = end
    return mx.concatenate(found)


def fork(caches: list[Any]) -> list[Any]:
    """The same content, to go another way. Costs nothing until it is written."""
    return copy.deepcopy(caches)
