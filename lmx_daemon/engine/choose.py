"""The choice of a token for every row of a batch in one step: penalties, filters, temperature, each row's own chance.

A row's chance is one number made from its seed and its position alone, so the same seed gives the same answer whatever
else is in the batch. All filters come down to one thing: the lowest logit that a row still takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from lmx_daemon.engine import platform
from lmx_daemon.engine.sampling import Resolved

STRIDE = 0x9E3779B97F4A7C15
CHANCE_BITS = 22
"""So that a chance times a float32 total stays below the total."""
SPAN = 64
"""Tokens that are summed as one before one of them is looked for."""
FEW = 128
"""Rows that take no more than so many tokens are ranked by those alone."""


Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Wish:
    """How one row's tokens are chosen."""

    resolved: Resolved
    seed: int = 0
    choice: int = 0
    top_logprobs: int | None = None
    """None: none; 0: the chosen token's only."""


GREEDY = Wish(Resolved())


@dataclass(frozen=True)
class Logprobs:
    chosen: float
    top: tuple[tuple[int, float], ...]


class Chosen:
    """One step's tokens, under way.

    `tokens` [rows] is there at once for the next step's graph to be built on. Where the host chooses, its numbers
    come with `settle`, which therefore goes before that graph is evaluated: building takes as long as a small
    model's step, and so they run side by side.
    """

    def __init__(self, chooser: "Chooser", logits: mx.array, positions: Sequence[int]) -> None:
        self._chooser = chooser
        self._chance = chooser.chances(positions)
        self._undecided: mx.array | None = None
        self._asked: Sequence[int] = ()
        self._details: tuple[mx.array, ...] = ()
        if chooser.on_host:
            self.tokens = mx.zeros((logits.shape[0],), mx.uint32)
            self._undecided = logits
            mx.async_eval(logits, self.tokens)  # type: ignore[no-untyped-call]  # MLX: untyped
        else:
            self.tokens, self._asked, self._details = chooser.choose(logits, self._chance)
            mx.async_eval(self.tokens, *self._details)  # type: ignore[no-untyped-call]  # MLX: untyped

    def settle(self) -> None:
        """Waits for the logits, and writes what the host chooses from them."""
        if self._undecided is None:
            return
        chosen, self._asked, self._details = self._chooser.choose(self._undecided, self._chance)
        np.array(self.tokens, copy=False)[:] = np.asarray(chosen)
        self._undecided = None

    def read(self) -> tuple[list[int], dict[int, Logprobs]]:
        """Waits for the tokens of all rows, and the log-probabilities of those that asked, by row."""
        self.settle()
        tokens: Any = self.tokens.tolist()
        if not self._asked:
            return tokens, {}
        details: Any = [array.tolist() for array in self._details]
        return tokens, {
            row: Logprobs(chosen, tuple(zip(ids, values, strict=True)))
            for row, chosen, ids, values in zip(self._asked, *details, strict=True)
        }


class Tally:
    """What a penalised row has seen: its prompt's tokens, and how often it said each."""

    def __init__(self, prompt: Sequence[int], vocabulary: int, said: Sequence[int] = ()) -> None:
        self.seen = mx.zeros((vocabulary,), mx.bool_)
        self.said = mx.array(np.bincount(np.asarray(said, np.int64), minlength=vocabulary).astype(np.float32))
        self.seen[mx.array(list(prompt), mx.uint32)] = True


class Chooser:
    """Chooses for a fixed list of rows; a batch whose rows change makes a new one."""

    def __init__(self, wishes: Sequence[Wish], tallies: Sequence[Tally | None], vocabulary: int) -> None:
        resolved = [wish.resolved for wish in wishes]
        self._rows = len(wishes)
        self._asked = [row for row, wish in enumerate(wishes) if wish.top_logprobs is not None]
        self._tops = [wishes[row].top_logprobs or 0 for row in self._asked]
        self._penalties = Penalties([(row, *pair) for row, pair in enumerate(zip(resolved, tallies, strict=True))])
        self._bias = _bias(resolved, vocabulary)
        sampled = [row for row, asked in enumerate(resolved) if not asked.greedy]
        self._sampled = sampled
        self._bases = bases([(wishes[row].seed, wishes[row].choice) for row in sampled])
        self._filters = Filters([resolved[row] for row in sampled], vocabulary)
        # A CPU's MLX takes 20 ns for an exponential and has no quick sort; numpy is ten times as fast there.
        self.on_host = bool(sampled) and platform.on_cpu()

    def chances(self, positions: Sequence[int]) -> Floats:
        """Of the rows that are drawn; `positions`: tokens each row of all has chosen before."""
        return chances(self._bases, [positions[row] for row in self._sampled])

    def choose(self, logits: mx.array, chance: Floats) -> tuple[mx.array, Sequence[int], tuple[mx.array, ...]]:
        """`logits` [rows, vocabulary] as `adjusted` gives them. The tokens, the rows that asked for log-probabilities,
        and those."""
        if len(self._sampled) == self._rows:
            tokens = self._draw(logits, chance)
        else:
            tokens = mx.argmax(logits, axis=-1)
            if self._sampled:
                tokens[mx.array(self._sampled)] = self._draw(logits, chance)
        self._penalties.count(tokens)
        return tokens, self._asked, self._details(logits, tokens)

    def adjusted(self, logits: mx.array) -> mx.array:
        """`logits` with bias and penalties."""
        if self._bias is not None:
            rows, bias = self._bias
            logits = logits.at[rows].add(bias.astype(logits.dtype))
        return self._penalties.apply(logits)

    def start(self, logits: mx.array, positions: Sequence[int]) -> Chosen:
        return Chosen(self, self.adjusted(logits), positions)

    def _draw(self, logits: mx.array, chance: Floats) -> mx.array:
        if len(self._sampled) < self._rows:
            logits = logits[mx.array(self._sampled)]
        logits = logits.astype(mx.float32)
        if self.on_host:
            return mx.array(draw(np, np.asarray(logits), chance, self._filters).astype(np.uint32))
        drawn: mx.array = draw(mx, logits, mx.array(chance), self._filters).astype(mx.uint32)
        return drawn

    def _details(self, logits: mx.array, tokens: mx.array) -> tuple[mx.array, ...]:
        if not self._asked:
            return ()
        rows = mx.array(self._asked)
        asked = logits[rows].astype(mx.float32)
        logprobs = asked - mx.logsumexp(asked, axis=-1, keepdims=True)
        chosen = mx.take_along_axis(logprobs, tokens[rows][:, None], axis=-1)[:, 0]
        most = min(max(self._tops), logprobs.shape[-1])
        ids = mx.argsort(-logprobs, axis=-1)[:, :most]
        return chosen, ids, mx.take_along_axis(logprobs, ids, axis=-1)


class Penalties:
    """Presence and frequency count the answer's tokens; repetition the prompt's too."""

    def __init__(self, rows: Sequence[tuple[int, Resolved, Tally | None]]) -> None:
        taken = [(row, resolved, tally) for row, resolved, tally in rows if tally is not None]
        self._tallies = [tally for _, _, tally in taken]
        if not taken:
            return
        self._rows = mx.array([row for row, _, _ in taken])
        self._seen = mx.stack([tally.seen for tally in self._tallies])
        self._said = mx.stack([tally.said for tally in self._tallies])
        self._repetition, self._presence, self._frequency = (
            mx.array([getattr(resolved, name) for _, resolved, _ in taken])[:, None]
            for name in ("repetition_penalty", "presence_penalty", "frequency_penalty")
        )

    def apply(self, logits: mx.array) -> mx.array:
        if not self._tallies:
            return logits
        asked = logits[self._rows]
        softer = mx.where(asked > 0, asked / self._repetition, asked * self._repetition)
        asked = mx.where(self._seen | (self._said > 0), softer, asked)
        asked = asked - self._frequency * self._said - self._presence * (self._said > 0)
        logits = logits + 0
        logits[self._rows] = asked.astype(logits.dtype)
        return logits

    def count(self, tokens: mx.array) -> None:
        if not self._tallies:
            return
        self._said = self._said.at[mx.arange(len(self._tallies)), tokens[self._rows]].add(1.0)
        for place, tally in enumerate(self._tallies):
            tally.said = self._said[place]


class Filters:
    """The rows' temperature, top_k, top_p and min_p as columns."""

    def __init__(self, rows: Sequence[Resolved], vocabulary: int) -> None:
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
    """One index for each row of `logits`, by `chance` [rows]. `xp` is mlx.core or numpy: the same words in both."""
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
    # A sum may round downwards, into a token that was dropped.
    kept = weights[rows, found] > 0
    if xp is np and kept.all():
        return found
    return xp.where(kept, found, xp.argmax(logits, axis=-1))


def _at(xp: Any, weights: Any, chance: Any, rows: Any) -> Any:
    """Where the cumulative sum of each row passes `chance` of its total: first in which span of tokens, then at which
    of them, since only plain sums are quick. Few calls: numpy's own cost counts here."""
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
    """`lowest`, for `rows` no lower than top_k and then top_p ask; the `count` highest logits are enough to know."""
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
    """One starting point for each (seed, choice), far from all others."""
    pairs = np.array([[seed, choice] for seed, choice in seeds], np.uint64).reshape(-1, 2)
    return _mixed(_mixed(pairs[:, 0]) + pairs[:, 1] * np.uint64(0xD1342543DE82EF95))


def chances(starts: npt.NDArray[np.uint64], positions: Sequence[int]) -> npt.NDArray[np.float32]:
    """A number in (0, 1) for each row at its position."""
    mixed = _mixed(starts + np.array(positions, np.uint64) * np.uint64(STRIDE))
    return np.asarray(((mixed >> np.uint64(64 - CHANCE_BITS)) + 0.5) / 2**CHANCE_BITS, np.float32)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    values = values + np.uint64(STRIDE)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _bias(rows: Sequence[Resolved], vocabulary: int) -> tuple[mx.array, mx.array] | None:
    biased = [row for row, resolved in enumerate(rows) if resolved.bias]
    if not biased:
        return None
    values = np.zeros((len(biased), vocabulary), np.float32)
    for place, row in enumerate(biased):
        values[place, list(rows[row].bias)] = list(rows[row].bias.values())
    return mx.array(biased), mx.array(values)
