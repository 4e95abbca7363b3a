"""Grouped attention: one call of the model for groups of different length.

Weights are read once, and attention runs group by group.

The models of mlx-lm pass what `update_and_fetch` returns straight to `scaled_dot_product_attention`. A cache may
therefore return one pair of arrays for each group, which patches.py handles. load/probe.py finds the models that look
inside the arrays; such a model gets one call for each group.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, KVCache, RotatingKVCache

from lmx_daemon.engines.mlx.patches import split

KINDS = (KVCache, BatchKVCache, RotatingKVCache, BatchRotatingKVCache)
"""Cache classes that can be grouped."""


class GroupedCache:
    """The caches of one layer, of all groups, as a single cache."""

    def __init__(self, parts: Sequence[Any], rows: Sequence[int]) -> None:
        self._parts = parts
        self._rows = rows

    @property
    def offset(self) -> mx.array:
        """Number of tokens of each row [rows]."""
        offsets = [part.offset for part in self._parts]
        return mx.concatenate([mx.array([each]) if isinstance(each, int) else each for each in offsets])

    def make_mask(self, count: int, **options: Any) -> list[Any]:
        """Return one attention mask for each group."""
        return [part.make_mask(count, **options) for part in self._parts]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[list[mx.array], list[mx.array]]:
        """Append `keys` and `values` [rows, heads, 1, size]. Return all keys and all values, one array per group."""
        found = [
            part.update_and_fetch(own_keys, own_values)
            for part, own_keys, own_values in zip(
                self._parts, split(keys, self._rows), split(values, self._rows), strict=True
            )
        ]
        return [own for own, _ in found], [own for _, own in found]


def forward(model: Any, tokens: mx.array, groups: Sequence[tuple[int, list[Any]]]) -> mx.array:
    """Return the logits [rows, vocabulary] after one more token for every row.

    `tokens` [rows] is in the order of `groups`, each of which is a number of rows and their caches.
    """
    rows = [count for count, _ in groups]
    caches = [GroupedCache(parts, rows) for parts in zip(*(caches for _, caches in groups), strict=True)]
    logits: mx.array = model(tokens[:, None], cache=caches)
    return logits[:, -1]
