"""One layer's keys and values of all rows of a group: mlx-lm's batch caches, with places to spare.

A row that joins is written into a free place, and who leaves is overwritten by the last row: both in place, so that
neither costs more where there are more rows. Free places come last, and nothing is computed for them. Who has which
place and how long each row is, the group knows. Caches of other kinds go on as mlx-lm has them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, CacheList, KVCache, RotatingKVCache

STEPS = 32, 256
"""It grows by an eighth of its width, within these bounds: room that no token needs yet stays small."""
SPARE = 8
"""One place in so many, and at most so many, are free after a copy."""
WASTE = 1.34
"""Times what its rows need, before it is copied to be smaller: one place of four may be free."""

Run = tuple[int, int]
"""Places, from the first up to the last."""


class BatchedCache:
    """`keys` and `values` [places, heads, room, width]; the first `count` places have rows, which all end at `_idx`.

    Without keys where no row has a token yet, or where a layer borrows another one's.
    """

    keys: mx.array | None
    values: mx.array | None
    _idx: int

    def __init__(self, lengths: Sequence[int], places: int) -> None:
        """For rows that are so long; none is filled in."""
        self.keys = self.values = None
        self.places = places
        self._idx = self._limited(max(lengths))
        self.place(lengths)

    @property
    def width(self) -> int:
        """Tokens that each row spans, padding included."""
        return self._idx

    @property
    def full(self) -> bool:
        """Whether the next token needs more room."""
        return self.keys is not None and self._idx >= self.keys.shape[2]

    def takes(self, count: int, length: int) -> bool:
        """Whether so many rows have places, and the longest new one is not longer than the others."""
        return self.keys is not None and self.places >= count and self.width >= self._limited(length)

    def wasteful(self, lengths: Sequence[int]) -> bool:
        """Whether these rows, which are all, leave too much of it unused."""
        return self.keys is not None and self.places * self.width > WASTE * len(lengths) * self._limited(max(lengths))

    def place(self, lengths: Sequence[int]) -> None:
        """The rows that there are now."""
        self.count = len(lengths)
        self.offset = mx.array(list(lengths), mx.int32)
        self.left_padding = mx.array([self.width - self._limited(length) for length in lengths], mx.int32)

    def fill(self, place: int, row: Any) -> None:
        """Writes all of a place: nothing is left of who had it, and padding is finite."""
        if self.keys is None:
            if row.keys is None:
                return
            self._make(row.keys, row.values)
        length = 0 if row.keys is None else row.size()
        for held, own in zip(self._both(), (row.keys, row.values), strict=True):
            if length < self.width:
                held[place : place + 1, :, : self.width - length] = 0
            if length:
                held[place : place + 1, :, self.width - length : self.width] = _content(row, own)

    def lift(self, place: int) -> list[mx.array]:
        """A copy of a row, for `put`; to be evaluated before, since what is still to be read cannot be overwritten."""
        return [mx.contiguous(own[place : place + 1, :, : self.width]) for own in self._both()]

    def put(self, place: int, lifted: Sequence[mx.array]) -> None:
        for held, row in zip(self._both(), lifted, strict=True):
            held[place : place + 1, :, : row.shape[2]] = row

    def take(self, place: int, length: int) -> Any:
        """A row's own cache."""
        row = self._row(length if self.keys is not None else 0)
        if self.keys is not None:
            begin = self.width - self._limited(length)
            row.keys, row.values = (
                mx.contiguous(self._in_order(own[place : place + 1])[:, :, begin : self.width]) for own in self._both()
            )
        return row

    def resize(self, width: int, places: int, runs: Sequence[Run] = ()) -> None:
        """A copy for rows of at most `width`: of `runs`, or of all that there are."""
        self.places, width = places, self._limited(width)
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
        """A copy with room for more tokens, where it is full; what is left of rows longer than this goes."""
        begin = self.width - self._limited(longest)
        self._idx -= begin
        more = self._room - self.width
        self.keys, self.values = (
            mx.concatenate([own[:, :, begin:], mx.zeros((*own.shape[:2], more, own.shape[3]), own.dtype)], axis=2)
            for own in self._both()
        )

    def keys_and_values(self) -> tuple[mx.array, ...]:
        return tuple(own[: self.count, :, : self.width] for own in self._both())

    # ---- how it is done ----

    def _both(self) -> tuple[mx.array, ...]:
        return () if self.keys is None or self.values is None else (self.keys, self.values)

    @property
    def _room(self) -> int:
        return self._limited(self.width + min(STEPS[1], max(STEPS[0], self.width // 8 // STEPS[0] * STEPS[0])))

    def _make(self, keys: Any, values: Any) -> None:
        """Empty, for the like of these."""
        self.keys, self.values = (
            mx.zeros((self.places, like.shape[1], self._room, like.shape[3]), like.dtype) for like in (keys, values)
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
        """The tokens that are held of a row."""
        return length

    def _row(self, length: int) -> Any:
        raise NotImplementedError

    def _in_order(self, own: mx.array) -> mx.array:
        return own


class BatchedKVCache(BatchedCache, BatchKVCache):  # type: ignore[misc]  # mlx-lm: untyped
    """All tokens of each row."""

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, ...]:
        self._write(keys, values)
        return self.keys_and_values()

    def _row(self, length: int) -> Any:
        row = KVCache()
        row.offset = length
        return row


class BatchedWindowCache(BatchedCache, BatchRotatingKVCache):  # type: ignore[misc]  # mlx-lm: untyped
    """The last `max_size` tokens of each row; once they are so many they go round, and `_idx` with them."""

    def __init__(self, lengths: Sequence[int], places: int, max_size: int) -> None:
        self.max_size, self.rotated, self._lengths = max_size, False, None
        super().__init__(lengths, places)
        self._offset = self._idx

    @property
    def width(self) -> int:
        return self.max_size if self.rotated else self._idx

    @property
    def full(self) -> bool:
        return super().full and self._idx < self.max_size

    def fill(self, place: int, row: Any) -> None:
        if not self.rotated:
            super().fill(place, row)
            return
        for held, own in zip(self._both(), (row.keys, row.values), strict=True):
            content = held[:1, :, :0] if own is None else _content(row, own)
            padding = [(0, 0), (0, 0), (self.max_size - content.shape[2], 0), (0, 0)]
            held[place : place + 1] = mx.roll(mx.pad(content, padding), self._idx, 2)

    def resize(self, width: int, places: int, runs: Sequence[Run] = ()) -> None:
        if width < self.max_size and self.rotated:
            self.keys, self.values = (self._in_order(own) for own in self._both())
            self._idx, self.rotated = self.max_size, False
        super().resize(width, places, runs)
        if not self.rotated:
            self._offset = self._idx

    def grow(self, longest: int) -> None:
        super().grow(longest)
        self._offset = self._idx

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, ...]:
        if self._idx == self.max_size:
            self.rotated, self._idx = True, 0
        if self.rotated:
            self.left_padding = self.left_padding - 1
        self._write(keys, values)
        self._offset += 1
        found, values = self.keys_and_values()
        # Nothing else asks for them in every step, and what is never asked for grows.
        return mx.depends(found, (self.left_padding, self.offset)), values

    def _limited(self, length: int) -> int:
        return min(length, self.max_size)

    def _row(self, length: int) -> Any:
        row = RotatingKVCache(self.max_size)
        row.offset, row._idx = length, self._limited(length)
        return row

    def _in_order(self, own: mx.array) -> mx.array:
        return mx.roll(own, -self._idx, 2) if self.rotated else own


def merged(rows: Sequence[Any], lengths: Sequence[int], places: int) -> Any:
    """One layer of all `rows`, in places of their own."""
    first = rows[0]
    if type(first) is CacheList:
        return CacheList(*(merged(parts, lengths, places) for parts in zip(*(row.caches for row in rows), strict=True)))
    made: BatchedKVCache | BatchedWindowCache
    if type(first) is KVCache:
        made = BatchedKVCache(lengths, places)
    elif type(first) is RotatingKVCache and first.keep == 0:
        made = BatchedWindowCache(lengths, places, first.max_size)
    else:
        return first.merge(list(rows))
    for place, row in enumerate(rows):
        made.fill(place, row)
    return made


def extracted(cache: Any, place: int, length: int) -> Any:
    """One row's cache."""
    if type(cache) is CacheList:
        return CacheList(*(extracted(part, place, length) for part in cache.caches))
    return cache.take(place, length) if isinstance(cache, BatchedCache) else cache.extract(place)


def capacity_for(rows: int) -> int:
    """Some to spare, so that rows that join one by one seldom find none."""
    return rows + min(SPARE, rows // SPARE)


def filled(staying: Sequence[int]) -> list[int]:
    """Whoever has a place behind the first so many takes one that is free among them."""
    here = set(staying)
    late = [place for place in staying if place >= len(staying)]
    return [place if place in here else late.pop() for place in range(len(staying))]


def runs_of(staying: Sequence[int]) -> list[Run]:
    found: list[Run] = []
    for place in staying:
        if found and found[-1][1] == place:
            found[-1] = found[-1][0], place + 1
        else:
            found.append((place, place + 1))
    return found


def parts(caches: Sequence[Any]) -> Iterator[Any]:
    """Lists of caches, flattened."""
    for cache in caches:
        if type(cache) is CacheList:
            yield from parts(cache.caches)
        else:
            yield cache


def _content(row: Any, own: mx.array) -> mx.array:
    """The tokens that a row holds, in order."""
    inside = row._temporal_order(own) if type(row) is RotatingKVCache else own[..., : row.offset, :]
    content: mx.array = inside[..., inside.shape[2] - row.size() :, :]
    return content
