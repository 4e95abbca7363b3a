"""Rows join and leave without the others' being copied, and nobody's keys and values are ever another's."""

import random
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

from lmx_daemon.engines.mlx.batch.groups import Group
from lmx_daemon.engines.mlx.batch.kv_cache import capacity_for, filled, runs_of

WINDOW = 24
LENGTHS = 0, 1, 5, 20, 30, 60, 100


def word(row: int, place: int) -> float:
    """What row `row` keeps of its token at `place`."""
    return float(1000 * row + place + 1)


def written(rows: Sequence[tuple[int, Sequence[int]]]) -> tuple[mx.array, mx.array]:
    keys = mx.array([[word(row, place) for place in places] for row, places in rows])
    keys = mx.broadcast_to(keys[:, None, :, None], (len(rows), 2, keys.shape[1], 4)) + 0
    return keys, -keys


def caches_of(row: int, length: int) -> list[Any]:
    """All tokens; a window; as hybrid models have them, tokens beside a state that only holds the last; and none, for
    a layer that borrows another one's."""
    kept, window, inner, state = KVCache(), RotatingKVCache(WINDOW), KVCache(), ArraysCache(1)
    done = 0
    for piece in (7, 30, length):
        places = range(done, min(length, done + piece))
        if places:
            for cache in (kept, window, inner):
                cache.update_and_fetch(*written([(row, places)]))
        done += len(places)
    state[0] = mx.full((1, 3), word(row, length))
    return [kept, window, CacheList(inner, state), KVCache()]


class Rows:
    """A group, and how long each of its rows is."""

    def __init__(self) -> None:
        self.group: Group | None = None
        self.lengths: dict[int, int] = {}

    def join(self, length: int) -> int:
        row = len(self.lengths)
        self.lengths[row] = length
        if self.group is None:
            self.group = Group(row, length, caches_of(row, length))
        else:
            self.group.join(row, length, caches_of(row, length))
        return row

    def step(self) -> None:
        """A token for each row, as a model writes it; what it would attend to is checked."""
        assert self.group is not None
        rows = self.group.rows
        kept, window, both, _ = self.group.advance()
        new = written([(row, [self.lengths[row]]) for row in rows])
        for row in rows:
            self.lengths[row] += 1
        for cache, reach in ((kept, 10_000), (window, WINDOW), (both[0], 10_000)):
            mask = None if len(rows) == 1 else cache.make_mask(1, return_array=True)
            keys, values = cache.update_and_fetch(*new)
            if mask is None:
                continue
            assert mx.array_equal(keys, -values).item()
            seen = mx.broadcast_to(mask, (len(rows), 1, 1, keys.shape[2]))[:, 0, 0].tolist()
            for row, own, visible in zip(rows, keys[:, 1, :, 0].tolist(), seen, strict=True):
                length = self.lengths[row]
                expected = [word(row, place) for place in range(max(0, length - reach), length)]
                assert sorted(value for value, shown in zip(own, visible, strict=True) if shown) == expected
            assert cache.offset.tolist() == [self.lengths[row] for row in rows]
        both[1][0] = mx.array([[word(row, self.lengths[row])] * 3 for row in rows])

    def leave(self, rows: set[int]) -> None:
        assert self.group is not None
        self.group.leave(rows)
        if not self.group.rows:
            self.group = None

    def check(self, row: int, length: int, caches: list[Any]) -> None:
        kept, window, both, unused = caches
        assert unused.empty() and unused.offset == 0
        for cache in (kept, both[0]):
            assert cache.offset == length
            if length:
                keys, values = cache.keys_and_values()
                assert keys[0, 0, :, 0].tolist() == [word(row, place) for place in range(length)]
                assert mx.array_equal(keys, -values).item()
        if length:
            assert window.offset == length
            held = window._temporal_order(window.keys)[0, 0, -window.size() :, 0].tolist()
            assert held[-WINDOW:] == [word(row, place) for place in range(max(0, length - WINDOW), length)]
        assert both[1][0].tolist() == [[word(row, length)] * 3]


@pytest.mark.parametrize("seed", range(12))
def test_every_row_sees_its_own_and_nothing_else(seed: int) -> None:
    generator = random.Random(seed)
    rows = Rows()
    for _ in range(60):
        act = generator.random()
        if rows.group is None or act < 0.35:
            rows.join(generator.choice(LENGTHS))
            continue
        there = rows.group.rows
        if act < 0.55:
            some = set(generator.sample(there, generator.choice((1, 1, 1, min(len(there), 3), len(there)))))
            extracted = {row: rows.group.extract(row) for row in some if generator.random() < 0.7}
            lengths = {row: rows.lengths[row] for row in extracted}
            rows.leave(some)
            if rows.group is not None and generator.random() < 0.7:
                rows.step()
            for row, caches in extracted.items():
                rows.check(row, lengths[row], caches)
        elif act < 0.65 and len(there) > 1:
            row = generator.choice(there)
            extracted, lengths = {row: rows.group.extract(row)}, dict(rows.lengths)
            if len(rows.group.rows) > len(rows.group._joining) + 1:
                rows.step()
            rows.check(row, lengths[row], extracted[row])
        else:
            for _ in range(generator.choice((1, 3, 20))):
                rows.step()


def deep_group(rows: int, length: int) -> Group:
    def caches() -> list[Any]:
        keys = mx.random.normal((1, 4, length, 32))
        window = RotatingKVCache(length)
        window.update_and_fetch(keys, keys)
        return [KVCache.from_state((keys, keys, length)), window]

    group = Group(0, length, caches())
    for row in range(1, rows):
        group.join(row, length, caches())
    advance(group)
    return group


def advance(group: Group) -> None:
    new = mx.zeros((len(group.rows), 4, 1, 32))
    mx.eval([cache.update_and_fetch(new, new) for cache in group.advance()])


class TestInPlace:
    """Copies show as memory that is needed for a moment."""

    LENGTH = 300
    ONE = 2 * 2 * 4 * 4 * 32 * LENGTH
    """Bytes of one row."""

    def needed(self, act: Any) -> float:
        """In rows, while `act` runs."""
        mx.eval(mx.zeros(1))
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        act()
        return float(mx.get_peak_memory() - before) / self.ONE

    def leave_and_advance(self, group: Group, row: int) -> None:
        extracted = group.extract(row)
        group.leave({row})
        advance(group)
        assert extracted[0].offset > self.LENGTH

    def test_who_leaves_costs_a_row_or_two_however_many_stay(self) -> None:
        for rows in (16, 32):
            group = deep_group(rows, self.LENGTH)
            for row in (3, rows - 1):
                assert self.needed(lambda group=group, row=row: self.leave_and_advance(group, row)) < 3
            assert len(group.rows) == rows - 2

    def test_who_joins_costs_a_row_or_two_however_many_are_there(self) -> None:
        for rows in (16, 32):
            group = deep_group(rows, self.LENGTH)
            self.leave_and_advance(group, 5)
            for row in range(rows, rows + 2):  # into the place that is free now, and into one of those to spare
                keys = mx.zeros((1, 4, self.LENGTH - 10, 32))
                window = RotatingKVCache(self.LENGTH)
                window.update_and_fetch(keys, keys)
                caches = [KVCache.from_state((keys, keys, keys.shape[2])), window]
                mx.eval(keys, window.keys)
                group.join(row, keys.shape[2], caches)
                assert self.needed(lambda group=group: advance(group)) < 2

    def test_what_is_to_spare_stays_small(self) -> None:
        group = deep_group(32, self.LENGTH)
        for row in range(30):
            group.leave({row})
            advance(group)
            need = len(group.rows) * max(group._lengths) / self.LENGTH * self.ONE
            assert group.bytes <= 1.34 * 1.15 * need


def test_the_last_take_the_places_of_those_that_leave() -> None:
    assert filled([0, 1, 2]) == [0, 1, 2]
    assert filled([1, 2, 3]) == [3, 1, 2]
    assert filled([0, 4, 5]) == [0, 5, 4]
    assert runs_of([0, 1, 3, 4, 6]) == [(0, 2), (3, 5), (6, 7)]


def test_one_place_in_eight_is_to_spare() -> None:
    assert [capacity_for(rows) for rows in (2, 7, 8, 17, 64, 200)] == [2, 7, 9, 19, 72, 208]
