"""Several prompts in one call of the model: their tokens side by side, the shorter ones padded at the end.

A row sees only what lies before it, so what stands behind a prompt's end changes nothing in it, and is cut off. That
holds for caches that keep something for each token and nothing else; probe.py tries it. Engine thread only.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, make_prompt_cache

WASTE = 0.25
"""Padding, as a part of what is computed."""


def together(lengths: Sequence[int]) -> list[list[int]]:
    """Which of so many tokens go in one call, as indices: near lengths, so that little is padding."""
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        last = found[-1] if found else []
        held = lengths[last[0]] * (len(last) + 1) if last else 0
        if last and held - sum(lengths[other] for other in [*last, index]) <= WASTE * held:
            last.append(index)
        else:
            found.append([index])
    return found


def run(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[Any]]:
    """For each prompt, a cache that holds all of its tokens."""
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
