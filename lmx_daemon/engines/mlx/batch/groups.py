"""Groups: rows of similar length that share one batched KV cache, and the choice of a group for a new row.

A group is a rectangle as wide as its longest row. A group of one row keeps the row's own caches, without mask or copy.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lmx_daemon.engines.mlx.batch import grouped_attention
from lmx_daemon.engines.mlx.batch.cache.kv_cache import BatchedCache
from lmx_daemon.engines.mlx.batch.cache.layers import extract, flatten, merge
from lmx_daemon.engines.mlx.batch.cache.slot_moves import close_gaps, runs_of, slots_for
from lmx_daemon.engines.mlx.batch.step import Row

PADDING_RATIO = 0.25
"""Padding that is always accepted, as a fraction of what a group holds."""
PADDING = 64, 2048
"""Bounds in tokens on the padding that costs less than reading the weights once more for another group."""


@dataclass(frozen=True)
class GroupShape:
    """The size of a group in tokens."""

    width: int
    """Length of its longest row."""
    rows: int
    """Number of its rows."""
    tokens: int
    """Tokens of all its rows together."""


def choose_group(shapes: Sequence[GroupShape], length: int, allowance: int = PADDING[0]) -> int | None:
    """Return the index of the group in which a row of `length` tokens adds least padding, or None for a new group.

    `allowance` is the padding in tokens that a group may always have.
    """
    best: tuple[int, int] | None = None
    for index, shape in enumerate(shapes):
        held = max(length, shape.width) * (shape.rows + 1)
        padding = held - shape.tokens - length
        added = padding - (shape.width * shape.rows - shape.tokens)
        if padding <= max(allowance, PADDING_RATIO * held) and (best is None or added < best[0]):
            best = added, index
    return None if best is None else best[1]


def padding_allowance(weights: int, token: int) -> int:
    """Return the tokens of padding, of `token` bytes each, that are read in the time of all `weights` (bytes)."""
    return max(PADDING[0], min(PADDING[1], weights // token if token else 0))


class Group:
    """Rows that share their caches. `rows` are in the order of the batch axis."""

    def __init__(self, row: Row, length: int, caches: list[Any]) -> None:
        self.rows = [row]
        self._lengths = [length]
        self._caches = caches
        self._single = True
        """Whether `_caches` are the own caches of a single row."""
        self._joining: list[list[Any]] = []
        """Caches of the last rows, which are not in `_caches` yet. All that join in one step are written at once."""
        self._pending_copies: list[Any] = []
        """Copies of rows that are not evaluated yet. Until they are, nothing can be written in place."""

    @property
    def shape(self) -> GroupShape:
        """The size of the group, including rows that join."""
        return GroupShape(max(self._width, *self._lengths), len(self.rows), sum(self._lengths))

    @property
    def bytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(cache.nbytes for caches in (self._caches, *self._joining) for cache in caches)

    @property
    def caches(self) -> list[Any]:
        """Caches with all rows, one for each layer."""
        if self._joining:
            self._merge_joining()
        return self._caches

    def advance(self) -> list[Any]:
        """Return the caches with room for one more token of every row, which the caller appends."""
        caches = self.caches
        self._evaluate([])
        for cache in self._batched:
            if cache.full:
                cache.grow(max(self._lengths))
                cache.set_lengths(self._lengths)
        self._lengths = [length + 1 for length in self._lengths]
        return caches

    def join(self, row: Row, length: int, caches: list[Any]) -> None:
        """Add a row of `length` tokens, one cache for each layer."""
        self._joining.append(caches)
        self.rows.append(row)
        self._lengths.append(length)

    def extract(self, row: Row) -> list[Any]:
        """Return the caches of a row that leaves, or that computes no more tokens."""
        slot = self.rows.index(row)
        if slot >= self._merged:
            return self._joining[slot - self._merged]
        if self._single:
            return self._caches
        extracted = [extract(cache, slot, self._lengths[slot]) for cache in self._caches]
        self._pending_copies += [cache.state for cache in extracted]
        return extracted

    def leave(self, rows: set[Row]) -> None:
        """Remove `rows`. A group without rows must not be used any more."""
        merged = self._merged
        staying = [slot for slot in range(merged) if self.rows[slot] not in rows]
        joining = [slot for slot in range(merged, len(self.rows)) if self.rows[slot] not in rows]
        self._joining = [self._joining[slot - merged] for slot in joining]
        if len(staying) == 1 and not joining and not self._single:
            (slot,) = staying
            self._caches = [extract(cache, slot, self._lengths[slot]) for cache in self._caches]
            self._single, self._pending_copies = True, []
        elif staying and len(staying) < merged:
            staying = self._compact(staying)
        if not staying:
            self._caches, self._single = self._joining.pop(0) if joining else [], True
            self._pending_copies = []
        self.rows = [self.rows[slot] for slot in (*staying, *joining)]
        self._lengths = [self._lengths[slot] for slot in (*staying, *joining)]

    @property
    def _merged(self) -> int:
        """Number of rows that are in `_caches`."""
        return len(self.rows) - len(self._joining)

    @property
    def _batched(self) -> list[Any]:
        """The caches that rows are written into in place."""
        return [] if self._single else [cache for cache in flatten(self._caches) if isinstance(cache, BatchedCache)]

    @property
    def _width(self) -> int:
        return max((cache.width for cache in self._batched), default=0)

    def _merge_joining(self) -> None:
        """Write joining rows into free slots, after a copy if there are too few slots or they are too narrow."""
        merged, count = self._merged, len(self.rows)
        joining, self._joining = self._joining, []
        if self._single:
            layers = zip(self._caches, *joining, strict=True)
            self._caches = [merge(layer, self._lengths, slots_for(count)) for layer in layers]
            self._single = False
            return
        for cache in self._batched:
            if not cache.fits(count, max(self._lengths[merged:])):
                cache.resize(max(self._lengths), slots_for(count))
        for cache, *rows in zip(flatten(self._caches), *(flatten(caches) for caches in joining), strict=True):
            if isinstance(cache, BatchedCache):
                cache.set_lengths(self._lengths)
                for slot, row in enumerate(rows, merged):
                    cache.write_row(slot, row)
            else:
                cache.extend(rows[0].merge(rows))

    def _compact(self, staying: list[int]) -> list[int]:
        """Leave no free slot between two rows. Return the old slot of each row in the new order."""
        own = self._batched
        lengths = [self._lengths[slot] for slot in staying]
        if any(cache.is_wasteful(lengths) for cache in own):
            order = staying
            for cache in own:
                cache.resize(max(lengths), slots_for(len(staying)), runs_of(staying))
            self._pending_copies = []  # the arrays that they are copies of are not written any more
        else:
            order = close_gaps(staying)
            moves = [(to, slot) for to, slot in enumerate(order) if to != slot]
            copied = [(cache, to, cache.copy_row(slot)) for cache in own for to, slot in moves]
            self._evaluate([rows for _, _, rows in copied])
            for cache, to, rows in copied:
                cache.paste_row(to, rows)
        for cache in flatten(self._caches):
            if isinstance(cache, BatchedCache):
                cache.set_lengths([self._lengths[slot] for slot in order])
            else:
                cache.filter(order)
        return order

    def _evaluate(self, copies: list[Any]) -> None:
        if copies or self._pending_copies:
            mx.eval(copies, self._pending_copies)
            self._pending_copies = []


def forward(model: Any, tokens: mx.array, groups: Sequence[Group], *, joined: bool) -> mx.array:
    """Return the logits [rows, vocabulary] after one more token for every row.

    `tokens` [rows] is in the order of the groups. `joined` computes all groups in one call of the model.
    """
    caches = [group.advance() for group in groups]
    if len(groups) == 1:
        logits: mx.array = model(tokens[:, None], cache=caches[0])
        return logits[:, -1]
    if joined:
        return grouped_attention.forward(
            model, tokens, [(len(group.rows), cache) for group, cache in zip(groups, caches, strict=True)]
        )
    found, begin = [], 0
    for group, cache in zip(groups, caches, strict=True):
        end = begin + len(group.rows)
        found.append(model(tokens[begin:end, None], cache=cache)[:, -1])
        begin = end
    return mx.concatenate(found)


def fork(caches: list[Any]) -> list[Any]:
    """Return caches of the same content that can grow apart. It costs nothing until one of them is written."""
    return copy.deepcopy(caches)
