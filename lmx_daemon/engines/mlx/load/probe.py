"""The probe of a loaded model: what it caches of a sequence, and how its rows can be computed together.

All calls belong on the engine thread.
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

from lmx_daemon.contract.worker.cache_shape import CACHE_BLOCK, CacheShape, Growing
from lmx_daemon.engines.mlx import patches, platform
from lmx_daemon.engines.mlx.batch import grouped_attention, padded_prefill
from lmx_daemon.engines.mlx.batch.cache import layers
from lmx_daemon.engines.mlx.batch.groups import fork

T = TypeVar("T")
LENGTHS = 2, 3, 5, 6, 9
"""Lengths of the rows. Five rows, since a wrong shape can fit by chance if there are as many rows as heads."""
NEXT = tuple(range(1, len(LENGTHS) + 1))
"""The next token of each row."""
NEAR = 0.05
"""Tolerance relative to the largest value. Reordered sums differ less, and wrong attention differs more."""


@dataclass(frozen=True)
class ModelAbilities:
    """Abilities of a model's code, as found by the probe."""

    cache: CacheShape | None
    """Size of the cache of a sequence; None for unknown cache classes."""
    merges: bool
    """Whether the model computes rows of different length in one batch. Not every architecture of mlx-lm does."""
    joins: bool
    """Whether the model computes several groups of rows in one call, with the same result as in several calls."""
    pads: bool
    """Whether the model computes prompts of different length in one call; see batch/padded_prefill.py."""
    lazy: bool
    """Whether a call only builds its graph, so that it reads tokens that are written later.

    dbrx, for example, evaluates its expert indices during the call.
    """


def probe_model(model: Any, on_progress: Callable[[], None] = lambda: None) -> ModelAbilities:
    """Return the abilities of the model. Raises any exception that the model raises for a plain prompt.

    Each call of the model reads all weights and may take long. `on_progress` is called after each of them.
    """

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
    """Return the size of the cache of a sequence; None for unknown cache classes."""
    return _shape_of(_prompt(model, LENGTHS[-1]))


def _prompt(model: Any, length: int) -> list[Any]:
    """Return the cache of a prompt of `length` tokens."""
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


# ---- rows in one batch: an exception in a model's code means that the model lacks the ability ----


def _rows(model: Any, longest: list[Any], on_progress: Callable[[], None]) -> list[list[Any]]:
    """Return one cache for each of LENGTHS: prefixes of the longest one if caches can be cut."""
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
    return [layers.merge(layer, LENGTHS[: len(rows)], len(rows)) for layer in zip(*rows, strict=True)]


def _merged_logits(model: Any, rows: list[list[Any]]) -> mx.array | None:
    """Return the logits of the next token of all rows in one batch; None if the model cannot compute them."""
    if not all(hasattr(cache, "merge") for cache in rows[0]):
        return None
    try:
        logits: mx.array = model(mx.array(NEXT)[:, None], cache=_merge(rows))
        mx.eval(logits)
    except Exception:  # foreign code may raise anything
        return None
    return logits


def _joins(model: Any, rows: list[list[Any]], expected: mx.array) -> bool:
    if not all(type(cache) in grouped_attention.KINDS for cache in rows[0]):
        return False
    try:
        groups = [(len(rows) - 1, _merge(rows[:-1])), (1, fork(rows[-1]))]
        found = grouped_attention.forward(model, mx.array(NEXT), groups)
        return _are_near([found], [expected[:, -1]])
    except Exception:  # foreign code may raise anything
        return False


def _pads(model: Any, alone: list[Any]) -> bool:
    """Return whether a prompt's keys and values stay the same with padding behind it and another prompt beside it."""
    if not all(type(cache) is KVCache for cache in alone):
        return False
    try:
        _, own = padded_prefill.run(model, [range(LENGTHS[-1] + LENGTHS[0]), range(LENGTHS[-1])])
        pairs = zip(own, alone, strict=True)
        return all(_are_near(one.keys_and_values(), other.keys_and_values()) for one, other in pairs)
    except Exception:  # foreign code may raise anything
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
        # The input is a copy, as after a join: a view of the tokens would show later writes in any case.
        inputs = mx.concatenate([tokens, tokens])[mx.arange(len(rows))]
        found = model(inputs[:, None], cache=_merge(rows) if len(rows) > 1 else fork(rows[0]))
        np.array(tokens, copy=False)[:] = NEXT[: len(rows)]
        return bool(mx.array_equal(found, merged))
    except Exception:  # foreign code may raise anything
        return False
