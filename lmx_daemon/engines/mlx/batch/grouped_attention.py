"""One call of the model for groups of different length: weights are read once, attention goes group by group.

mlx-lm's models hand what `update_and_fetch` returned straight to `scaled_dot_product_attention`, so a cache may return
one pair of arrays for each group, which patches.py accepts. Models that look inside are found by probe.py, and take one
call for each group.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, KVCache, RotatingKVCache

from lmx_daemon.engines.mlx.patches import split

KINDS = (KVCache, BatchKVCache, RotatingKVCache, BatchRotatingKVCache)


class GroupedCache:
    """One layer's caches of all groups, as one."""

    def __init__(self, parts: Sequence[Any], rows: Sequence[int]) -> None:
        self._parts = parts
        self._rows = rows

    @property
    def offset(self) -> mx.array:
        offsets = [part.offset for part in self._parts]
        return mx.concatenate([mx.array([found]) if isinstance(found, int) else found for found in offsets])

    def make_mask(self, count: int, **options: Any) -> list[Any]:
        return [part.make_mask(count, **options) for part in self._parts]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[list[mx.array], list[mx.array]]:
        found = [
            part.update_and_fetch(own_keys, own_values)
            for part, own_keys, own_values in zip(
                self._parts, split(keys, self._rows), split(values, self._rows), strict=True
            )
        ]
        return [own for own, _ in found], [own for _, own in found]


def forward(model: Any, tokens: mx.array, groups: Sequence[tuple[int, list[Any]]]) -> mx.array:
    """Logits [rows, vocabulary] of one more token for every row of all (rows, caches)."""
    rows = [count for count, _ in groups]
    caches = [GroupedCache(parts, rows) for parts in zip(*(caches for _, caches in groups), strict=True)]
    logits: mx.array = model(tokens[:, None], cache=caches)
    return logits[:, -1]
