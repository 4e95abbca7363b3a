"""Drawing one token for each row: temperature, filters, and the random number of each row.

A row's random number depends on its seed and its position only, so that the same seed gives the same answer whatever
else is in the batch. All filters are reduced to one number: the lowest logit that a row accepts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams
from lmx_daemon.engines.mlx.sampling.splitmix import STRIDE, mix

CHANCE_BITS = 22
"""Bits of a random number: few enough that its product with a float32 total stays below the total."""
SPAN = 64
"""Tokens that are summed together first; the drawn token is then searched within one span."""
FEW = 128
"""Rows whose top_k is at most this are ranked by their highest logits alone."""


class Filters:
    """Temperature, top_k, top_p and min_p of the drawn rows as columns [rows, 1]."""

    def __init__(self, rows: Sequence[SamplingParams], vocabulary: int) -> None:
        def column(values: list[float], kind: Any = np.float32) -> npt.NDArray[Any]:
            return np.array(values, kind)[:, None]

        self.sharpness = column([1.0 / row.temperature for row in rows])
        self.min_p = column([np.log(row.min_p) if row.min_p > 0 else -np.inf for row in rows])
        self.top_k = column([row.top_k if 0 < row.top_k < vocabulary else vocabulary for row in rows], np.int32)
        self.top_p = column([row.top_p for row in rows])
        filtered = (self.top_k < vocabulary) | (self.top_p < 1.0)
        few = self.top_k <= FEW
        self.by_few = [int(row) for row in np.flatnonzero(filtered & few)]
        self.by_all = [int(row) for row in np.flatnonzero(filtered & ~few)]
        self.few = int(self.top_k[self.by_few].max()) if self.by_few else 0
        self.any_min_p = bool((self.min_p > -np.inf).any())


def draw(xp: Any, logits: Any, chance: Any, filters: Filters) -> Any:
    """Return one token [rows] for each row of `logits` [rows, vocabulary], by `chance` [rows] in (0, 1).

    `xp` is mlx.core or numpy; the functions used have the same names in both.
    """
    highest = xp.max(logits, axis=-1, keepdims=True)
    weights = logits - highest
    weights *= xp.array(filters.sharpness)
    weights = xp.exp(weights)
    if filters.any_min_p or filters.by_few or filters.by_all:
        lowest = highest + xp.array(filters.min_p)
        for rows, count in ((filters.by_few, filters.few), (filters.by_all, logits.shape[-1])):
            if rows:
                lowest = _raised(xp, lowest, logits, rows, count, filters)
        weights = xp.where(logits >= lowest, weights, xp.array(0.0, xp.float32))
    rows = xp.arange(logits.shape[0])
    found = xp.minimum(_at(xp, weights, chance, rows), logits.shape[-1] - 1)
    # A sum may be rounded down, so that it ends at a token that was filtered out.
    kept = weights[rows, found] > 0
    if xp is np and kept.all():
        return found
    return xp.where(kept, found, xp.argmax(logits, axis=-1))


def _at(xp: Any, weights: Any, chance: Any, rows: Any) -> Any:
    """Return the token at which the cumulative sum of each row passes `chance` of its total.

    The span is searched first and then the token within it, since plain sums are fast and cumulative ones are not. The
    number of numpy calls is kept small, because their fixed cost matters here.
    """
    if over := -weights.shape[1] % SPAN:
        weights = xp.pad(weights, [(0, 0), (0, over)])
    spans = weights.reshape(len(weights), -1, SPAN)
    totals = spans.sum(-1)
    sums = totals.cumsum(-1)
    wanted = (chance * sums[:, -1])[:, None]
    span = xp.minimum((sums <= wanted).sum(-1), sums.shape[1] - 1)
    before = sums[rows, span] - totals[rows, span]
    own = spans[rows, span].cumsum(-1) + before[:, None]
    return span * SPAN + xp.minimum((own <= wanted).sum(-1), SPAN - 1)


def _raised(xp: Any, lowest: Any, logits: Any, rows: list[int], count: int, filters: Filters) -> Any:
    """Return `lowest` raised for `rows` to what top_k and then top_p accept, by their `count` highest logits."""
    places = xp.array(rows)
    asked = logits if len(rows) == logits.shape[0] else logits[places]
    width = asked.shape[-1]
    if count < width:
        asked = xp.partition(asked, width - count, axis=-1)[:, width - count :]
    ranked = xp.sort(asked, axis=-1)[:, ::-1]
    kept = xp.arange(count)[None] < xp.array(filters.top_k[rows])
    weights = xp.where(kept, xp.exp(ranked - ranked[:, :1]), xp.array(0.0, xp.float32))
    sums = xp.cumsum(weights, axis=-1)
    kept = kept & (sums - weights < xp.array(filters.top_p[rows]) * sums[:, -1:])
    last = xp.maximum(xp.sum(kept, axis=-1, keepdims=True) - 1, 0)
    limit = xp.take_along_axis(ranked, last, axis=-1)
    lowest = lowest + xp.array(0.0, xp.float32)
    lowest[places] = xp.maximum(lowest[places], limit)
    return lowest


def bases(seeds: Sequence[tuple[int, int]]) -> npt.NDArray[np.uint64]:
    """Return the start of the random sequence of each (seed, choice)."""
    pairs = np.array([[seed, choice] for seed, choice in seeds], np.uint64).reshape(-1, 2)
    return mix(mix(pairs[:, 0]) + pairs[:, 1] * np.uint64(0xD1342543DE82EF95))


def chances(starts: npt.NDArray[np.uint64], positions: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return a random number in (0, 1) for each row at its position."""
    mixed = mix(starts + np.array(positions, np.uint64) * np.uint64(STRIDE))
    return np.asarray(((mixed >> np.uint64(64 - CHANCE_BITS)) + 0.5) / 2**CHANCE_BITS, np.float32)
