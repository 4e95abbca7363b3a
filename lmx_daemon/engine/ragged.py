"""One call of the model for groups of different length: weights are read once, attention goes group by group.

mlx-lm's models hand what `update_and_fetch` returned straight to `scaled_dot_product_attention`, so a cache may return
one pair of arrays for each group. Models that look inside are found by trying, and take one call for each group.
"""

import sys
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models import base
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, KVCache, RotatingKVCache, make_prompt_cache

KINDS = (KVCache, BatchKVCache, RotatingKVCache, BatchRotatingKVCache)
ATTENTION = "scaled_dot_product_attention"
NEAR = 0.05
"""How far logits may be off, as a part of the largest: sums in another order are, wrong attention is farther."""


class Ragged:
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
                self._parts, _split(keys, self._rows), _split(values, self._rows), strict=True
            )
        ]
        return [own for own, _ in found], [own for _, own in found]


def attention(queries: mx.array, keys: Any, values: Any, cache: Any, scale: float, mask: Any, **options: Any) -> Any:
    """mlx-lm's own, and group by group where the cache holds groups."""
    if not isinstance(keys, list):
        return base.scaled_dot_product_attention(queries, keys, values, cache, scale, mask, **options)
    rows = [own.shape[0] for own in keys]
    parts = zip(_split(queries, rows), keys, values, mask, strict=True)
    return mx.concatenate(
        [base.scaled_dot_product_attention(*own, None, scale, own_mask, **options) for *own, own_mask in parts]
    )


def can_join(model: Any) -> bool:
    """Whether the model takes groups of different length in one call, with the same result as in several."""
    if not all(type(cache) in KINDS for cache in make_prompt_cache(model)):
        return False
    _teach()
    try:
        apart, together = _groups(model), _groups(model)
        expected = mx.concatenate([model(mx.zeros((rows, 1), mx.uint32), cache=group) for rows, group in apart])
        found = forward(model, mx.zeros(expected.shape[0], mx.uint32), together)
        expected = expected[:, -1].astype(mx.float32)
        off = mx.max(mx.abs(expected - found.astype(mx.float32)))
        return bool(off <= NEAR * mx.max(mx.abs(expected)))
    except Exception:  # a model's own code may raise anything; it then takes one call for each group
        return False


def forward(model: Any, tokens: mx.array, groups: Sequence[tuple[int, list[Any]]]) -> mx.array:
    """Logits [rows, vocabulary] of one more token for every row of all (rows, caches)."""
    rows = [count for count, _ in groups]
    caches = [Ragged(parts, rows) for parts in zip(*(caches for _, caches in groups), strict=True)]
    logits: mx.array = model(tokens[:, None], cache=caches)
    return logits[:, -1]


def _teach() -> None:
    """Puts our attention where models have imported mlx-lm's by name."""
    for name, module in list(sys.modules.items()):
        own = getattr(module, ATTENTION, None) if name.startswith("mlx_lm.models.") and module is not base else None
        if own is base.scaled_dot_product_attention:
            setattr(module, ATTENTION, attention)


def _groups(model: Any) -> list[tuple[int, list[Any]]]:
    """Four rows and one, of different length, as groups hold them."""
    rows = []
    for length in (2, 3, 5, 6, 9):
        cache = make_prompt_cache(model)
        model(mx.arange(length)[None], cache=cache)
        rows.append(cache)
    merged = [parts[0].merge(list(parts)) for parts in zip(*rows[:4], strict=True)]
    return [(4, merged), (1, rows[4])]


def _split(array: mx.array, rows: Sequence[int]) -> list[mx.array]:
    edges, found = 0, []
    for count in rows:
        found.append(array[edges : edges + count])
        edges += count
    return found
