"""Arithmetic of slots: how many a batched KV cache has, and which rows move when others leave. It imports no MLX."""

from collections.abc import Sequence

SPARE = 8
"""A copy has one free slot for each SPARE rows, and at most SPARE free slots."""

Run = tuple[int, int]
"""Consecutive slots: the first one, and the one after the last."""


def slots_for(rows: int) -> int:
    """Return the number of slots for `rows` rows, with a few to spare for rows that join one by one."""
    return rows + min(SPARE, rows // SPARE)


def close_gaps(staying: Sequence[int]) -> list[int]:
    """Return the old slot of each row in the new order of slots 0, 1, ... without gaps.

    A row behind the new end moves into a slot that has become free; the others stay where they are.
    """
    kept = set(staying)
    behind = [slot for slot in staying if slot >= len(staying)]
    return [slot if slot in kept else behind.pop() for slot in range(len(staying))]


def runs_of(slots: Sequence[int]) -> list[Run]:
    """Return ascending `slots` as runs."""
    runs: list[Run] = []
    for slot in slots:
        if runs and runs[-1][1] == slot:
            runs[-1] = runs[-1][0], slot + 1
        else:
            runs.append((slot, slot + 1))
    return runs
