"""Rows of about the same length that decode together, in mlx-lm's batch caches; and which row goes where.

A group is a rectangle as wide as its longest row. A group of one keeps the row's own caches: no mask, no copy.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lmx_daemon.engines.mlx.batch import grouped_attention
from lmx_daemon.engines.mlx.batch.kv_cache import BatchedCache, capacity_for, extracted, filled, merged, parts, runs_of

RATIO = 0.25
"""Padding, as a part of what a group holds, that is always accepted."""
PADDING = 64, 2048
"""Padding in tokens that costs less than reading the weights once more for another group, within these bounds."""


@dataclass(frozen=True)
class GroupShape:
    """A group as `choose_group` sees it: its longest row, its rows, and the tokens of all of them."""

    width: int
    rows: int
    tokens: int


def choose_group(shapes: Sequence[GroupShape], length: int, room: int = PADDING[0]) -> int | None:
    """The group where one more row of `length` tokens adds least padding, or None where a new one is better."""
    best: tuple[int, int] | None = None
    for index, shape in enumerate(shapes):
        held = max(length, shape.width) * (shape.rows + 1)
        padding = held - shape.tokens - length
        added = padding - (shape.width * shape.rows - shape.tokens)
        if padding <= max(room, RATIO * held) and (best is None or added < best[0]):
            best = added, index
    return None if best is None else best[1]


def padding_allowance(weights: int, token: int) -> int:
    """Tokens of padding, of `token` bytes each, that are read as quickly as all `weights`."""
    return max(PADDING[0], min(PADDING[1], weights // token if token else 0))


class Group:
    """`rows` in the order of the batch axis."""

    def __init__(self, row: int, length: int, caches: list[Any]) -> None:
        self.rows = [row]
        self._lengths = [length]
        self._caches = caches
        self._single = True
        self._joining: list[list[Any]] = []
        """Caches of the last rows, not in `_caches` yet: all that join in one step are written at once."""
        self._pending_copies: list[Any] = []
        """Copies of rows that may still have to be made: until they are, nothing can be written in place."""

    @property
    def shape(self) -> GroupShape:
        return GroupShape(max(self._width, *self._lengths), len(self.rows), sum(self._lengths))

    @property
    def bytes(self) -> int:
        return sum(cache.nbytes for caches in (self._caches, *self._joining) for cache in caches)

    @property
    def caches(self) -> list[Any]:
        """One for each layer, with all rows."""
        if self._joining:
            self._admit()
        return self._caches

    def advance(self) -> list[Any]:
        """The caches, for every row to have one token more."""
        caches = self.caches
        self._settle([])
        for cache in self._parts:
            if cache.full:
                cache.grow(max(self._lengths))
                cache.place(self._lengths)
        self._lengths = [length + 1 for length in self._lengths]
        return caches

    def join(self, row: int, length: int, caches: list[Any]) -> None:
        self._joining.append(caches)
        self.rows.append(row)
        self._lengths.append(length)

    def extract(self, row: int) -> list[Any]:
        """The row's caches, as they are when it has left or will compute no more."""
        place = self.rows.index(row)
        if place >= self._seated:
            return self._joining[place - self._seated]
        if self._single:
            return self._caches
        found = [extracted(cache, place, self._lengths[place]) for cache in self._caches]
        self._pending_copies += [cache.state for cache in found]
        return found

    def leave(self, rows: set[int]) -> None:
        """What stays goes on; a group that nobody stays in must not be used any more."""
        seated = self._seated
        staying = [place for place in range(seated) if self.rows[place] not in rows]
        coming = [place for place in range(seated, len(self.rows)) if self.rows[place] not in rows]
        self._joining = [self._joining[place - seated] for place in coming]
        if len(staying) == 1 and not coming and not self._single:
            (place,) = staying
            self._caches = [extracted(cache, place, self._lengths[place]) for cache in self._caches]
            self._single, self._pending_copies = True, []
        elif staying and len(staying) < seated:
            staying = self._close(staying)
        if not staying:
            self._caches, self._single = self._joining.pop(0) if coming else [], True
            self._pending_copies = []
        self.rows = [self.rows[place] for place in (*staying, *coming)]
        self._lengths = [self._lengths[place] for place in (*staying, *coming)]

    # ---- how it is done ----

    @property
    def _seated(self) -> int:
        return len(self.rows) - len(self._joining)

    @property
    def _parts(self) -> list[Any]:
        """The caches that rows are written into in place."""
        return [] if self._single else [part for part in parts(self._caches) if isinstance(part, BatchedCache)]

    @property
    def _width(self) -> int:
        return max((part.width for part in self._parts), default=0)

    def _admit(self) -> None:
        """Writes those that join, into free places where there are enough and they are wide enough."""
        seated, count = self._seated, len(self.rows)
        joining, self._joining = self._joining, []
        if self._single:
            layers = zip(self._caches, *joining, strict=True)
            self._caches = [merged(layer, self._lengths, capacity_for(count)) for layer in layers]
            self._single = False
            return
        for part in self._parts:
            if not part.takes(count, max(self._lengths[seated:])):
                part.resize(max(self._lengths), capacity_for(count))
        for part, *rows in zip(parts(self._caches), *(parts(caches) for caches in joining), strict=True):
            if isinstance(part, BatchedCache):
                part.place(self._lengths)
                for place, row in enumerate(rows, seated):
                    part.fill(place, row)
            else:
                part.extend(rows[0].merge(rows))

    def _close(self, staying: list[int]) -> list[int]:
        """Leaves no free place between two rows. Who is where then, by the old places."""
        own = self._parts
        lengths = [self._lengths[place] for place in staying]
        if any(part.wasteful(lengths) for part in own):
            order = staying
            for part in own:
                part.resize(max(lengths), capacity_for(len(staying)), runs_of(staying))
            self._pending_copies = []  # what they are copies of is written no more
        else:
            order = filled(staying)
            moves = [(to, place) for to, place in enumerate(order) if to != place]
            lifted = [(part, to, part.lift(place)) for part in own for to, place in moves]
            self._settle([rows for _, _, rows in lifted])
            for part, to, rows in lifted:
                part.put(to, rows)
        for part in parts(self._caches):
            if isinstance(part, BatchedCache):
                part.place([self._lengths[place] for place in order])
            else:
                part.filter(order)
        return order

    def _settle(self, lifted: list[Any]) -> None:
        if lifted or self._pending_copies:
            mx.eval(lifted, self._pending_copies)
            self._pending_copies = []


def forward(model: Any, tokens: mx.array, groups: Sequence[Group], *, joined: bool) -> mx.array:
    """Logits [rows, vocabulary] of one more token for every row, in the order of the groups; `joined`: in one call."""
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
    """The same content, to go another way. Costs nothing until it is written."""
    return copy.deepcopy(caches)
