"""The batched KV cache: one layer's keys and values of all rows of a group, with spare slots.

It extends mlx-lm's batch caches. A row that joins is written into a free slot, and the last row moves into the slot of
a row that leaves. Both happen in place, so that their cost does not grow with the number of rows. Free slots come last,
and nothing is computed for them. The group records which row has which slot and how long each row is. Caches of other
classes keep mlx-lm's own batch form (see layers.py).
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, KVCache, RotatingKVCache

from lmx_daemon.engines.mlx.batch.cache.slot_moves import Run

GROWTH = 32, 256
"""Minimum and maximum growth of a cache in tokens. Within them, it is an eighth of the cache's width."""
WASTE = 1.34
"""Ratio of allocated to needed memory above which a cache is copied to a smaller one. One slot of four may be free."""


class BatchedCache:
    """`keys` and `values` [slots, heads, room, size]. The first `count` slots have rows, which all end at `_idx`.

    `keys` and `values` are None while no row has a token, and in a layer that uses another layer's cache.
    """

    keys: mx.array | None
    values: mx.array | None
    _idx: int

    def __init__(self, lengths: Sequence[int], slots: int) -> None:
        """Create an empty cache for rows of `lengths` tokens."""
        self.keys = self.values = None
        self.slots = slots
        self._idx = self._limited(max(lengths))
        self.set_lengths(lengths)

    @property
    def width(self) -> int:
        """Number of tokens that each row spans, padding included."""
        return self._idx

    @property
    def full(self) -> bool:
        """Return whether the next token does not fit."""
        return self.keys is not None and self._idx >= self.keys.shape[2]

    def fits(self, count: int, length: int) -> bool:
        """Return whether `count` rows have slots and a new row of `length` tokens is not wider than the cache."""
        return self.keys is not None and self.slots >= count and self.width >= self._limited(length)

    def is_wasteful(self, lengths: Sequence[int]) -> bool:
        """Return whether a cache with only rows of `lengths` tokens would have too much unused memory."""
        return self.keys is not None and self.slots * self.width > WASTE * len(lengths) * self._limited(max(lengths))

    def set_lengths(self, lengths: Sequence[int]) -> None:
        """Set the number of tokens of each row, in the order of the slots."""
        self.count = len(lengths)
        self.offset = mx.array(list(lengths), mx.int32)
        self.left_padding = mx.array([self.width - self._limited(length) for length in lengths], mx.int32)

    def write_row(self, slot: int, row: Any) -> None:
        """Copy a single row's cache into a slot. All of the slot is overwritten, so that padding is finite."""
        if self.keys is None:
            if row.keys is None:
                return
            self._make(row.keys, row.values)
        length = 0 if row.keys is None else row.size()
        for held, own in zip(self._both(), (row.keys, row.values), strict=True):
            if length < self.width:
                held[slot : slot + 1, :, : self.width - length] = 0
            if length:
                held[slot : slot + 1, :, self.width - length : self.width] = _content(row, own)

    def copy_row(self, slot: int) -> list[mx.array]:
        """Return a copy of a row for `paste_row`. The caller evaluates it before it overwrites the row."""
        return [mx.contiguous(own[slot : slot + 1, :, : self.width]) for own in self._both()]

    def paste_row(self, slot: int, copied: Sequence[mx.array]) -> None:
        """Write a row that `copy_row` returned into another slot, in place."""
        for held, row in zip(self._both(), copied, strict=True):
            held[slot : slot + 1, :, : row.shape[2]] = row

    def extract_row(self, slot: int, length: int) -> Any:
        """Return a row of `length` tokens as a cache of its own."""
        row = self._row(length if self.keys is not None else 0)
        if self.keys is not None:
            begin = self.width - self._limited(length)
            row.keys, row.values = (
                mx.contiguous(self._in_order(own[slot : slot + 1])[:, :, begin : self.width]) for own in self._both()
            )
        return row

    def resize(self, width: int, slots: int, runs: Sequence[Run] = ()) -> None:
        """Copy the rows of `runs`, or all rows, into new arrays for rows of at most `width` tokens."""
        self.slots, width = slots, self._limited(width)
        kept = min(width, self.width)
        begin, old = self.width - kept, self._both()
        self._idx += width - self.width
        if self.keys is None:
            return
        self._make(self.keys, self.values)
        for own, new in zip(old, self._both(), strict=True):
            at = 0
            for first, last in runs or [(0, self.count)]:
                new[at : at + last - first, :, width - kept : width] = own[first:last, :, begin : begin + kept]
                at += last - first

    def grow(self, longest: int) -> None:
        """Copy the rows into arrays with room for more tokens. Columns beyond the `longest` row are dropped."""
        begin = self.width - self._limited(longest)
        self._idx -= begin
        more = self._room - self.width
        self.keys, self.values = (
            mx.concatenate([own[:, :, begin:], mx.zeros((*own.shape[:2], more, own.shape[3]), own.dtype)], axis=2)
            for own in self._both()
        )

    def keys_and_values(self) -> tuple[mx.array, ...]:
        """Return the keys and the values of all rows [count, heads, width, size]."""
        return tuple(own[: self.count, :, : self.width] for own in self._both())

    def _both(self) -> tuple[mx.array, ...]:
        return () if self.keys is None or self.values is None else (self.keys, self.values)

    @property
    def _room(self) -> int:
        return self._limited(self.width + min(GROWTH[1], max(GROWTH[0], self.width // 8 // GROWTH[0] * GROWTH[0])))

    def _make(self, keys: Any, values: Any) -> None:
        """Allocate arrays of zeros with the heads, sizes and types of `keys` and `values`."""
        self.keys, self.values = (
            mx.zeros((self.slots, like.shape[1], self._room, like.shape[3]), like.dtype) for like in (keys, values)
        )

    def _write(self, keys: mx.array, values: mx.array) -> None:
        if self.keys is None:
            self._make(keys, values)
        end = self._idx + keys.shape[2]
        for held, new in zip(self._both(), (keys, values), strict=True):
            held[: self.count, :, self._idx : end] = new
        self.offset = self.offset + keys.shape[2]
        self._idx = end

    def _limited(self, length: int) -> int:
        """Return the number of tokens kept of a row of `length` tokens."""
        return length

    def _row(self, length: int) -> Any:
        """Return the cache of mlx-lm for a row of `length` tokens, without its keys. Subclasses define it."""
        raise NotImplementedError

    def _in_order(self, own: mx.array) -> mx.array:
        return own


class BatchedKVCache(BatchedCache, BatchKVCache):  # type: ignore[misc]  # mlx-lm: untyped
    """A batched cache that keeps all tokens of each row."""

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, ...]:
        """Append `keys` and `values` [count, heads, new, size]. Return those of all tokens."""
        self._write(keys, values)
        return self.keys_and_values()

    def _row(self, length: int) -> Any:
        row = KVCache()
        row.offset = length
        return row


class BatchedWindowCache(BatchedCache, BatchRotatingKVCache):  # type: ignore[misc]  # mlx-lm: untyped
    """A batched cache that keeps the last `max_size` tokens of each row.

    Once it is full, new tokens overwrite the oldest, and `_idx` wraps around.
    """

    def __init__(self, lengths: Sequence[int], slots: int, max_size: int) -> None:
        self.max_size, self.rotated, self._lengths = max_size, False, None
        super().__init__(lengths, slots)
        self._offset = self._idx

    @property
    def width(self) -> int:
        """Number of tokens that each row spans, padding included."""
        return self.max_size if self.rotated else self._idx

    @property
    def full(self) -> bool:
        """Return whether the next token does not fit and the cache may still grow."""
        return super().full and self._idx < self.max_size

    def write_row(self, slot: int, row: Any) -> None:
        """Copy a single row's cache into a slot, rotated so that all rows end at the same position."""
        if not self.rotated:
            super().write_row(slot, row)
            return
        for held, own in zip(self._both(), (row.keys, row.values), strict=True):
            content = held[:1, :, :0] if own is None else _content(row, own)
            padding = [(0, 0), (0, 0), (self.max_size - content.shape[2], 0), (0, 0)]
            held[slot : slot + 1] = mx.roll(mx.pad(content, padding), self._idx, 2)

    def resize(self, width: int, slots: int, runs: Sequence[Run] = ()) -> None:
        """Copy rows as BatchedCache does. If the window no longer fits, put the tokens in order first."""
        if width < self.max_size and self.rotated:
            self.keys, self.values = (self._in_order(own) for own in self._both())
            self._idx, self.rotated = self.max_size, False
        super().resize(width, slots, runs)
        if not self.rotated:
            self._offset = self._idx

    def grow(self, longest: int) -> None:
        """Copy the rows into arrays with room for more tokens, up to `max_size`."""
        super().grow(longest)
        self._offset = self._idx

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, ...]:
        """Write `keys` and `values` [count, heads, 1, size]. Return those of the window."""
        if self._idx == self.max_size:
            self.rotated, self._idx = True, 0
        if self.rotated:
            self.left_padding = self.left_padding - 1
        self._write(keys, values)
        self._offset += 1
        found, values = self.keys_and_values()
        # Nothing else evaluates these two in every step, and their unevaluated graphs would grow.
        return mx.depends(found, (self.left_padding, self.offset)), values

    def _limited(self, length: int) -> int:
        return min(length, self.max_size)

    def _row(self, length: int) -> Any:
        row = RotatingKVCache(self.max_size)
        row.offset, row._idx = length, self._limited(length)
        return row

    def _in_order(self, own: mx.array) -> mx.array:
        return mx.roll(own, -self._idx, 2) if self.rotated else own


def _content(row: Any, own: mx.array) -> mx.array:
    """Return the tokens of a single row's cache in order."""
    inside = row._temporal_order(own) if type(row) is RotatingKVCache else own[..., : row.offset, :]
    content: mx.array = inside[..., inside.shape[2] - row.size() :, :]
    return content
