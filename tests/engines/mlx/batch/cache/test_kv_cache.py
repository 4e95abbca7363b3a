"""The batched KV cache: rows join and leave without copies of the others, and attend to their own tokens only."""

import random
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

from lmx_daemon.engines.mlx.batch.cache.slot_moves import close_gaps, runs_of, slots_for
from lmx_daemon.engines.mlx.batch.groups import Group

WINDOW = 24
LENGTHS = 0, 1, 5, 20, 30, 60, 100


def word(row: int, position: int) -> float:
    """Return the value that row `row` stores for its token at `position`."""
    return float(1000 * row + position + 1)


def written(rows: Sequence[tuple[int, Sequence[int]]]) -> tuple[mx.array, mx.array]:
    keys = mx.array([[word(row, position) for position in positions] for row, positions in rows])
    keys = mx.broadcast_to(keys[:, None, :, None], (len(rows), 2, keys.shape[1], 4)) + 0
    return keys, -keys


def caches_of(row: int, length: int) -> list[Any]:
    """Return one cache of each kind.

    They hold all tokens; a window; tokens beside a fixed state (hybrid models); nothing (a layer that uses another
    layer's cache).
    """
    kept, window, inner, state = KVCache(), RotatingKVCache(WINDOW), KVCache(), ArraysCache(1)
    done = 0
    for piece in (7, 30, length):
        positions = range(done, min(length, done + piece))
        if positions:
            for cache in (kept, window, inner):
                cache.update_and_fetch(*written([(row, positions)]))
        done += len(positions)
    state[0] = mx.full((1, 3), word(row, length))
    return [kept, window, CacheList(inner, state), KVCache()]


class Rows:
    """A group, and the length of each of its rows."""

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
        """Append a token to each row as a model does, and check what the row would attend to."""
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
                expected = [word(row, position) for position in range(max(0, length - reach), length)]
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
                assert keys[0, 0, :, 0].tolist() == [word(row, position) for position in range(length)]
                assert mx.array_equal(keys, -values).item()
        if length:
            assert window.offset == length
            held = window._temporal_order(window.keys)[0, 0, -window.size() :, 0].tolist()
            assert held[-WINDOW:] == [word(row, position) for position in range(max(0, length - WINDOW), length)]
        assert both[1][0].tolist() == [[word(row, length)] * 3]


@pytest.mark.parametrize("seed", range(12))
def test_row_attends_to_its_own_tokens_only(seed: int) -> None:
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
    """Changes in position: a copy would show as a peak of memory."""

    LENGTH = 300
    ONE = 2 * 2 * 4 * 4 * 32 * LENGTH
    """Bytes of one row."""

    def needed(self, act: Any) -> float:
        """Return the peak of additional memory during `act`, in rows."""
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

    def test_leaving_copies_at_most_two_rows(self) -> None:
        for rows in (16, 32):
            group = deep_group(rows, self.LENGTH)
            for row in (3, rows - 1):
                assert self.needed(lambda group=group, row=row: self.leave_and_advance(group, row)) < 3
            assert len(group.rows) == rows - 2

    def test_joining_copies_at_most_two_rows(self) -> None:
        for rows in (16, 32):
            group = deep_group(rows, self.LENGTH)
            self.leave_and_advance(group, 5)
            for row in range(rows, rows + 2):  # into the slot that has become free, and into a spare one
                keys = mx.zeros((1, 4, self.LENGTH - 10, 32))
                window = RotatingKVCache(self.LENGTH)
                window.update_and_fetch(keys, keys)
                caches = [KVCache.from_state((keys, keys, keys.shape[2])), window]
                mx.eval(keys, window.keys)
                group.join(row, keys.shape[2], caches)
                assert self.needed(lambda group=group: advance(group)) < 2

    def test_spare_memory_is_bounded(self) -> None:
        group = deep_group(32, self.LENGTH)
        for row in range(30):
            group.leave({row})
            advance(group)
            need = len(group.rows) * max(group._lengths) / self.LENGTH * self.ONE
            assert group.bytes <= 1.34 * 1.15 * need


def test_last_rows_move_into_the_slots_of_those_that_leave() -> None:
    assert close_gaps([0, 1, 2]) == [0, 1, 2]
    assert close_gaps([1, 2, 3]) == [3, 1, 2]
    assert close_gaps([0, 4, 5]) == [0, 5, 4]
    assert runs_of([0, 1, 3, 4, 6]) == [(0, 2), (3, 5), (6, 7)]


def test_one_slot_in_eight_is_spare() -> None:
    assert [slots_for(rows) for rows in (2, 7, 8, 17, 64, 200)] == [2, 7, 9, 19, 72, 208]
