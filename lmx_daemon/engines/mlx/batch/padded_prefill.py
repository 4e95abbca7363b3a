"""Padded prefill: several prompts in one call of the model, the shorter ones padded at the end.

A token attends to earlier tokens only. Padding after the end of a prompt therefore changes nothing in it, and is cut
off afterwards. This holds for caches that keep one entry per token and nothing else; load/probe.py checks it. Engine
thread only.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

WASTE = 0.25
"""Upper bound on padding, as a fraction of the tokens that one call computes."""


def together(lengths: Sequence[int]) -> list[list[int]]:
    """Return which prompts share a call, as lists of indices into `lengths`. Similar lengths share one."""
    calls: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        last = calls[-1] if calls else []
        held = lengths[last[0]] * (len(last) + 1) if last else 0
        if last and held - sum(lengths[other] for other in [*last, index]) <= WASTE * held:
            last.append(index)
        else:
            calls.append([index])
    return calls


def run(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[Any]]:
    """Compute `prompts` in one call. Return for each prompt a cache that holds all of its tokens."""
    width = max(map(len, prompts))
    shared: list[Any] = make_prompt_cache(model)
    for part in shared:
        part.step = width
    model(mx.array([[*tokens, *[0] * (width - len(tokens))] for tokens in prompts]), cache=shared)
    return [[_row_of(part, row, len(tokens)) for part in shared] for row, tokens in enumerate(prompts)]


def _row_of(shared: KVCache, row: int, length: int) -> KVCache:
    own = KVCache()
    own.keys = mx.contiguous(shared.keys[row : row + 1, :, :length])
    own.values = mx.contiguous(shared.values[row : row + 1, :, :length])
    own.offset = length
    return own
