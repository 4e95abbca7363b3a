"""The choice of a token for every row of a batch in one step: bias, penalties, log-probabilities, and who is drawn how.

The drawing itself is draw.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lmx_daemon.engines.mlx import platform
from lmx_daemon.engines.mlx.sampling.draw import Filters, Floats, Noise, bases, chances, draw
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams


@dataclass(frozen=True)
class Logprobs:
    chosen: float
    top: tuple[tuple[int, float], ...]


class SampledTokens:
    """One step's tokens, under way.

    `tokens` [rows] is there at once for the next step's graph to be built on. Where the host chooses, its numbers
    come with `settle`, which therefore goes before that graph is evaluated: building takes as long as a small
    model's step, and so they run side by side.
    """

    def __init__(self, sampler: "Sampler", logits: mx.array, positions: Sequence[int]) -> None:
        self._sampler = sampler
        self._chance = sampler.chances(positions)
        self._noise = sampler.noise(positions)
        self._undecided: mx.array | None = None
        self._asked: Sequence[int] = ()
        self._details: tuple[mx.array, ...] = ()
        if sampler.on_host:
            self.tokens = mx.zeros((logits.shape[0],), mx.uint32)
            self._undecided = logits
            mx.async_eval(logits, self.tokens)  # type: ignore[no-untyped-call]  # MLX: untyped
        else:
            self.tokens, self._asked, self._details = sampler.choose(logits, self._chance, self._noise)
            mx.async_eval(self.tokens, *self._details)  # type: ignore[no-untyped-call]  # MLX: untyped
        sampler.look_ahead()

    def settle(self) -> None:
        """Waits for the logits, and writes what the host chooses from them."""
        if self._undecided is None:
            return
        chosen, self._asked, self._details = self._sampler.choose(self._undecided, self._chance, self._noise)
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


class TokenCounts:
    """What a penalised row has seen: its prompt's tokens, and how often it generated each."""

    def __init__(self, prompt: Sequence[int], vocabulary: int, generated: Sequence[int] = ()) -> None:
        self.seen = mx.zeros((vocabulary,), mx.bool_)
        self.generated = mx.array(np.bincount(np.asarray(generated, np.int64), minlength=vocabulary).astype(np.float32))
        self.seen[mx.array(list(prompt), mx.uint32)] = True


class Sampler:
    """Chooses for a fixed list of rows; a batch whose rows change makes a new one."""

    def __init__(self, rows: Sequence[SamplingParams], counts: Sequence[TokenCounts | None], vocabulary: int) -> None:
        self._rows = len(rows)
        self._asked = [row for row, params in enumerate(rows) if params.top_logprobs is not None]
        self._tops = [rows[row].top_logprobs or 0 for row in self._asked]
        self._penalties = Penalties([(row, *pair) for row, pair in enumerate(zip(rows, counts, strict=True))])
        self._bias = _bias(rows, vocabulary)
        sampled = [row for row, params in enumerate(rows) if not params.greedy]
        # A CPU's MLX takes 20 ns for an exponential and has no quick sort; numpy is ten times as fast there. But then
        # MLX waits for it, so where nothing is filtered, only noise is added: that is made while MLX computes.
        self._raced = [row for row in sampled if platform.on_cpu() and not rows[row].filtered]
        self._drawn = [row for row in sampled if row not in self._raced]
        self.on_host = bool(self._drawn) and platform.on_cpu()
        self._bases = bases([(params.seed, params.choice) for params in rows])
        self._filters = Filters([rows[row] for row in self._drawn], vocabulary)
        temperatures = [rows[row].temperature for row in self._raced]
        self._noise = Noise(self._bases[self._raced], temperatures, vocabulary)

    def chances(self, positions: Sequence[int]) -> Floats:
        """Of the rows that are drawn; `positions`: tokens each row of all has chosen before."""
        return chances(self._bases[self._drawn], [positions[row] for row in self._drawn])

    def noise(self, positions: Sequence[int]) -> mx.array | None:
        """[raced rows, vocabulary]; see `chances`."""
        if not self._raced:
            return None
        return mx.array(self._noise.at([positions[row] for row in self._raced]))

    def look_ahead(self) -> None:
        """While MLX computes: the host's part of the next step."""
        if self._raced:
            self._noise.ahead()

    def choose(
        self, logits: mx.array, chance: Floats, noise: mx.array | None
    ) -> tuple[mx.array, Sequence[int], tuple[mx.array, ...]]:
        """`logits` [rows, vocabulary] as `adjusted` gives them. The tokens, the rows that asked for log-probabilities,
        and those."""
        parts: list[tuple[list[int], Any]] = [(self._drawn, lambda own: self._draw(own, chance))] if self._drawn else []
        if noise is not None:
            parts.append((self._raced, lambda own: mx.argmax(own + noise, axis=-1)))
        if len(parts) == 1 and len(parts[0][0]) == self._rows:
            tokens = parts[0][1](logits.astype(mx.float32))
        else:
            tokens = mx.argmax(logits, axis=-1)
            for rows, choice in parts:
                tokens[mx.array(rows)] = choice(logits[mx.array(rows)].astype(mx.float32))
        self._penalties.count(tokens)
        return tokens, self._asked, self._details(logits, tokens)

    def adjusted(self, logits: mx.array) -> mx.array:
        """`logits` with bias and penalties."""
        if self._bias is None and not self._penalties.wanted:
            return logits
        logits = logits.astype(mx.float32)  # bfloat16 has steps of 0.25 above 32: a small penalty would be lost
        if self._bias is not None:
            rows, bias = self._bias
            logits = logits.at[rows].add(bias)
        return self._penalties.apply(logits)

    def start(self, logits: mx.array, positions: Sequence[int]) -> SampledTokens:
        return SampledTokens(self, self.adjusted(logits), positions)

    def _draw(self, logits: mx.array, chance: Floats) -> mx.array:
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

    def __init__(self, rows: Sequence[tuple[int, SamplingParams, TokenCounts | None]]) -> None:
        taken = [(row, resolved, counts) for row, resolved, counts in rows if counts is not None]
        self._counts = [counts for _, _, counts in taken]
        if not taken:
            return
        self._rows = mx.array([row for row, _, _ in taken])
        self._seen = mx.stack([counts.seen for counts in self._counts])
        self._generated = mx.stack([counts.generated for counts in self._counts])
        self._repetition, self._presence, self._frequency = (
            mx.array([getattr(resolved, name) for _, resolved, _ in taken])[:, None]
            for name in ("repetition_penalty", "presence_penalty", "frequency_penalty")
        )

    @property
    def wanted(self) -> bool:
        return bool(self._counts)

    def apply(self, logits: mx.array) -> mx.array:
        """`logits` as float32."""
        if not self._counts:
            return logits
        asked = logits[self._rows]
        softer = mx.where(asked > 0, asked / self._repetition, asked * self._repetition)
        asked = mx.where(self._seen | (self._generated > 0), softer, asked)
        asked = asked - self._frequency * self._generated - self._presence * (self._generated > 0)
        logits = logits + 0
        logits[self._rows] = asked
        return logits

    def count(self, tokens: mx.array) -> None:
        if not self._counts:
            return
        self._generated = self._generated.at[mx.arange(len(self._counts)), tokens[self._rows]].add(1.0)
        for place, counts in enumerate(self._counts):
            counts.generated = self._generated[place]


def _bias(rows: Sequence[SamplingParams], vocabulary: int) -> tuple[mx.array, mx.array] | None:
    biased = [row for row, resolved in enumerate(rows) if resolved.bias]
    if not biased:
        return None
    values = np.zeros((len(biased), vocabulary), np.float32)
    for place, row in enumerate(biased):
        values[place, list(rows[row].bias)] = list(rows[row].bias.values())
    return mx.array(biased), mx.array(values)
