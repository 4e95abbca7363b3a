"""Caches of several rows in a layer, whatever their class: merged into one cache, and taken apart again."""

from collections.abc import Iterator, Sequence
from typing import Any

from mlx_lm.models.cache import CacheList, KVCache, RotatingKVCache

from lmx_daemon.engines.mlx.batch.cache.kv_cache import BatchedCache, BatchedKVCache, BatchedWindowCache


def merge(rows: Sequence[Any], lengths: Sequence[int], slots: int) -> Any:
    """Return one cache with the content of `rows`, the caches of one layer. `lengths` [rows] is in tokens."""
    first = rows[0]
    if type(first) is CacheList:
        return CacheList(*(merge(inner, lengths, slots) for inner in zip(*(row.caches for row in rows), strict=True)))
    merged: BatchedKVCache | BatchedWindowCache
    if type(first) is KVCache:
        merged = BatchedKVCache(lengths, slots)
    elif type(first) is RotatingKVCache and first.keep == 0:
        merged = BatchedWindowCache(lengths, slots, first.max_size)
    else:
        return first.merge(list(rows))
    for slot, row in enumerate(rows):
        merged.write_row(slot, row)
    return merged


def extract(cache: Any, slot: int, length: int) -> Any:
    """Return the cache of the row in `slot`, which has `length` tokens."""
    if type(cache) is CacheList:
        return CacheList(*(extract(inner, slot, length) for inner in cache.caches))
    return cache.extract_row(slot, length) if isinstance(cache, BatchedCache) else cache.extract(slot)


def flatten(caches: Sequence[Any]) -> Iterator[Any]:
    """Yield the caches of all layers, with those inside a CacheList one by one."""
    for cache in caches:
        if type(cache) is CacheList:
            yield from flatten(cache.caches)
        else:
            yield cache
