"""Tries a loaded model, on the model itself: what it keeps of a sequence, and how its rows may be computed together.

Engine thread only.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    KVCache,
    RotatingKVCache,
    can_trim_prompt_cache,
    make_prompt_cache,
    trim_prompt_cache,
)

from lmx_daemon.contract.frames import CACHE_BLOCK, CacheShape, Growing
from lmx_daemon.engines.mlx import patches, platform
from lmx_daemon.engines.mlx.batch import grouped_attention, kv_cache, padded_prefill
from lmx_daemon.engines.mlx.batch.groups import fork

T = TypeVar("T")
LENGTHS = 2, 3, 5, 6, 9
"""Five rows, since a wrong shape that happens to fit, by as many rows as heads, raises nothing."""
NEXT = tuple(range(1, len(LENGTHS) + 1))
"""A token more for each."""
NEAR = 0.05
"""How far numbers may be off, as a part of the largest: sums in another order are, wrong attention is farther."""


@dataclass(frozen=True)
class ModelAbilities:
    """What a model's own code turned out to do."""

    cache: CacheShape | None
    """What it keeps of a sequence; None where its caches are of a kind that is not known here."""
    merges: bool
    """It takes rows of different length at once: not every architecture of mlx-lm does."""
    joins: bool
    """It takes groups of rows in one call, with the same result as in several."""
    pads: bool
    """It takes prompts of different length in one call, see padded.py."""
    lazy: bool
    """A call only builds its graph, so that a token written later is still the one it reads; dbrx, for one, looks at
    its experts' numbers under way."""


def probe_model(model: Any, on_progress: Callable[[], None] = lambda: None) -> ModelAbilities:
    """Raises what the model raises at a plain prompt. Every call reads all weights, so one tells several things; it may
    take long, so that each is progress."""

    def done(found: T) -> T:
        on_progress()
        return found

    backend = platform.backend()
    patches.install(backend.replacements)
    longest = done(_prompt(model, LENGTHS[-1]))
    rows = _rows(model, longest, on_progress)
    merged = done(_merged_logits(model, rows))
    return ModelAbilities(
        cache=_shape_of(longest),
        merges=merged is not None,
        joins=merged is not None and done(_joins(model, rows, merged)),
        pads=done(_pads(model, longest)),
        lazy=backend.is_lazy(lambda: done(_is_lazy(model, rows, merged))),
    )


def measure_cache(model: Any) -> CacheShape | None:
    """What it keeps of a sequence; None for caches of a kind that is not known here."""
    return _shape_of(_prompt(model, LENGTHS[-1]))


def _prompt(model: Any, length: int) -> list[Any]:
    """The cache of so many tokens."""
    cache: list[Any] = make_prompt_cache(model)
    mx.eval(model(mx.arange(length)[None], cache=cache), [part.state for part in cache])
    return cache


def _shape_of(cache: list[Any]) -> CacheShape | None:
    tokens = LENGTHS[-1]
    fixed, growing = 0, Counter[int | None]()
    for part in _flat(cache):
        match part:
            case ArraysCache():
                fixed += part.nbytes
            case RotatingKVCache():
                growing[part.max_size] += part.nbytes // tokens
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


# ---- rows together; whatever a model's own code raises here, it then does without ----


def _rows(model: Any, longest: list[Any], on_progress: Callable[[], None]) -> list[list[Any]]:
    """Caches of all LENGTHS: beginnings of the longest where a cache can be cut."""
    rows = []
    for length in LENGTHS:
        if can_trim_prompt_cache(longest):
            trim_prompt_cache(row := fork(longest), LENGTHS[-1] - length)
        else:
            row = longest if length == LENGTHS[-1] else _prompt(model, length)
        rows.append(row)
        on_progress()
    return rows


def _merge(rows: list[list[Any]]) -> list[Any]:
    return [kv_cache.merged(layer, LENGTHS[: len(rows)], len(rows)) for layer in zip(*rows, strict=True)]


def _merged_logits(model: Any, rows: list[list[Any]]) -> mx.array | None:
    """Of the next token of all rows in one batch; None where the model does not take them."""
    if not all(hasattr(cache, "merge") for cache in rows[0]):
        return None
    try:
        logits: mx.array = model(mx.array(NEXT)[:, None], cache=_merge(rows))
        mx.eval(logits)
    except Exception:  # whatever its own code raises
        return None
    return logits


def _joins(model: Any, rows: list[list[Any]], expected: mx.array) -> bool:
    if not all(type(cache) in grouped_attention.KINDS for cache in rows[0]):
        return False
    try:
        groups = [(len(rows) - 1, _merge(rows[:-1])), (1, fork(rows[-1]))]
        found = grouped_attention.forward(model, mx.array(NEXT), groups)
        return _are_near([found], [expected[:, -1]])
    except Exception:  # whatever its own code raises
        return False


def _pads(model: Any, alone: list[Any]) -> bool:
    """Whether a prompt's keys and values are the same with padding behind it and another one beside it."""
    if not all(type(cache) is KVCache for cache in alone):
        return False
    try:
        _, own = padded_prefill.run(model, [range(LENGTHS[-1] + LENGTHS[0]), range(LENGTHS[-1])])
        pairs = zip(own, alone, strict=True)
        return all(_are_near(one.keys_and_values(), other.keys_and_values()) for one, other in pairs)
    except Exception:  # whatever its own code raises
        return False


def _are_near(found: Sequence[mx.array], expected: Sequence[mx.array]) -> bool:
    pairs = [(one.astype(mx.float32), two.astype(mx.float32)) for one, two in zip(found, expected, strict=True)]
    return all(bool(mx.max(mx.abs(one - two)) <= NEAR * mx.max(mx.abs(two))) for one, two in pairs)


def _is_lazy(model: Any, rows: list[list[Any]], merged: mx.array | None) -> bool:
    try:
        if merged is None:
            rows = rows[:1]
            merged = model(mx.array(NEXT[:1])[:, None], cache=fork(rows[0]))
        tokens = mx.zeros((len(rows),), mx.uint32)
        mx.eval(tokens)
        # By way of another array, as after a join: in a mere view, what is written later is seen in any case.
        inputs = mx.concatenate([tokens, tokens])[mx.arange(len(rows))]
        found = model(inputs[:, None], cache=_merge(rows) if len(rows) > 1 else fork(rows[0]))
        np.array(tokens, copy=False)[:] = NEXT[: len(rows)]
        return bool(mx.array_equal(found, merged))
    except Exception:  # whatever its own code raises
        return False
