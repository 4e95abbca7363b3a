"""Measures what a loaded model keeps of a sequence, on the model itself. Engine thread only."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    KVCache,
    RotatingKVCache,
    make_prompt_cache,
)

from lmx_daemon.contract.frames import CACHE_BLOCK, CacheShape, Growing

TOKENS = 8


def measure_cache(model: Any) -> CacheShape | None:
    """None for caches of a kind that is not known here."""
    cache = make_prompt_cache(model)
    mx.eval(model(mx.zeros((1, TOKENS), mx.int32), cache=cache))
    mx.eval([part.state for part in cache])
    fixed, growing = 0, Counter[int | None]()
    for part in _flat(cache):
        match part:
            case ArraysCache():
                fixed += part.nbytes
            case RotatingKVCache():
                growing[part.max_size] += part.nbytes // TOKENS
            case KVCache():
                growing[None] += part.nbytes // CACHE_BLOCK
            case _:
                return None
    return CacheShape(
        fixed=fixed,
        growing=tuple(Growing(per_token=size, window=window) for window, size in growing.items() if size),
        basis="measured",
    )


def _flat(cache: list[Any]) -> Iterator[Any]:
    for part in cache:
        if isinstance(part, CacheList):
            yield from _flat(list(part.caches))
        else:
            yield part
