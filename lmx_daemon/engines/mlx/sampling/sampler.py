"""The sampler: one token for every row of a batch from the logits of one step.

The ordered list of logits processors (processors.py) applies first; the draw itself is draw.py's. It has no access to
caches, requests or text. Engine thread only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lmx_daemon.engines.mlx import platform
from lmx_daemon.engines.mlx.arrays import FloatArray
from lmx_daemon.engines.mlx.sampling.draw import Filters, bases, chances, draw
from lmx_daemon.engines.mlx.sampling.processors import LogProbabilities, SampledRow, TokenMask, processors_for


@dataclass(frozen=True)
class Logprobs:
    """Log-probabilities of one sampled token."""

    chosen: float
    top: tuple[tuple[int, float], ...]
    """The likeliest tokens and their log-probabilities, in descending order."""


class SampledTokens:
    """The tokens of one step, possibly still being computed.

    `tokens` [rows] exists at once, so that the next step's graph can be built on it. Where the host samples, its
    values arrive with `settle`, which must be called before that graph is evaluated. Building the graph takes as long
    as a step of a small model, so that the two run side by side.
    """

    def __init__(self, sampler: "Sampler", logits: mx.array, chance: FloatArray, noise: mx.array | None) -> None:
        self._sampler = sampler
        self._chance = chance
        self._noise = noise
        self._logits: mx.array | None = None
        """Logits that the host has still to mask and to sample from."""
        self._details: tuple[mx.array, ...] = ()
        if sampler.on_host:
            self.tokens = mx.zeros((logits.shape[0],), mx.uint32)
            self._logits = logits
            mx.async_eval(logits, self.tokens)  # type: ignore[no-untyped-call]  # MLX: untyped
        else:
            self.tokens, self._details = sampler.choose(logits, self._chance, self._noise)
            mx.async_eval(self.tokens, *self._details)  # type: ignore[no-untyped-call]  # MLX: untyped

    def settle(self) -> None:
        """Wait for the logits and fill in the tokens that the host samples from them. Idempotent."""
        if self._logits is None:
            return
        logits = self._sampler.processed_late(self._logits)
        chosen, self._details = self._sampler.choose(logits, self._chance, self._noise)
        np.array(self.tokens, copy=False)[:] = np.asarray(chosen)
        self._logits = None

    def read(self) -> tuple[list[int], dict[int, Logprobs]]:
        """Wait for the tokens. Return those of all rows, and the log-probabilities by the index of their row."""
        self.settle()
        tokens: Any = self.tokens.tolist()
        if not self._details:
            return tokens, {}
        details: Any = [array.tolist() for array in self._details]
        return tokens, {
            row: Logprobs(chosen, tuple(zip(ids, values, strict=True)))
            for row, chosen, ids, values in zip(self._sampler.logprob_rows, *details, strict=True)
        }


class Sampler:
    """Samples for a fixed list of rows; it is rebuilt when the rows of the batch change."""

    def __init__(self, rows: Sequence[SampledRow], vocabulary: int) -> None:
        self._rows = rows
        self._processors = processors_for(rows, vocabulary)
        last = self._processors[-1] if self._processors else None
        self._logprobs = last if isinstance(last, LogProbabilities) else None
        self.constrained = any(row.constraint is not None for row in rows)
        """Whether the previous tokens must be read before the next ones can be sampled."""
        params = [row.params for row in rows]
        sampled = [row for row, each in enumerate(params) if not each.greedy]
        # On a CPU, MLX takes 20 ns for an exponential and has no quick sort; numpy is ten times as fast. MLX then waits
        # for numpy, so rows without filters only have noise added, which numpy makes while MLX computes.
        backend = platform.backend()
        with_numpy = backend.samples_on_host
        self._raced = [row for row in sampled if with_numpy and not params[row].filtered]
        self._drawn = [row for row in sampled if row not in self._raced]
        self.on_host = with_numpy and (bool(self._drawn) or self.constrained)
        """Whether numpy masks or samples, after MLX has computed the logits."""
        masks = [place for place, each in enumerate(self._processors) if isinstance(each, TokenMask)]
        early = masks[0] if masks and self.on_host else len(self._processors)
        self._early, self._late = self._processors[:early], self._processors[early:]
        """Processors that MLX applies at once, and those from the masks on, which wait for the logits on the host."""
        self._bases = bases([(each.seed, each.choice) for each in params])
        self._filters = Filters([params[row] for row in self._drawn], vocabulary)
        temperatures = [params[row].temperature for row in self._raced]
        self._noise = backend.noise(self._bases[self._raced], temperatures, vocabulary)

    @property
    def logprob_rows(self) -> Sequence[int]:
        """Indices of the rows that log-probabilities are reported for."""
        return self._logprobs.rows if self._logprobs is not None else ()

    def sample(self, logits: mx.array, positions: Sequence[int]) -> SampledTokens:
        """Start sampling from `logits` [rows, vocabulary]; `positions` [rows] counts the tokens generated before."""
        noise = self.noise(positions)
        for processor in self._early:
            logits = processor(logits, self._rows)
        for processor in self._late:
            if isinstance(processor, TokenMask):
                processor.write(self._rows)
        sampled = SampledTokens(self, logits, self.chances(positions), noise)
        if not self.constrained:
            self.look_ahead()
        return sampled

    def processed_late(self, logits: mx.array) -> mx.array:
        """Return the logits after the processors that wait for them on the host."""
        for processor in self._late:
            logits = processor.apply(logits) if isinstance(processor, TokenMask) else processor(logits, self._rows)
        return logits

    def chances(self, positions: Sequence[int]) -> FloatArray:
        """Return the random number of each drawn row at its position; `positions` [rows] covers all rows."""
        return chances(self._bases[self._drawn], [positions[row] for row in self._drawn])

    def noise(self, positions: Sequence[int]) -> mx.array | None:
        """Return the noise [raced rows, vocabulary]; `positions` [rows] covers all rows."""
        if not self._raced or self._noise is None:
            return None
        return mx.array(self._noise.at([positions[row] for row in self._raced]))

    def look_ahead(self) -> None:
        """Make the noise of the next step while MLX computes this one."""
        if self._raced and self._noise is not None:
            self._noise.ahead()

    def choose(
        self, logits: mx.array, chance: FloatArray, noise: mx.array | None
    ) -> tuple[mx.array, tuple[mx.array, ...]]:
        """Return the tokens [rows] sampled from processed `logits`, and the arrays of LogProbabilities.sampled."""
        parts: list[tuple[list[int], Callable[[mx.array], mx.array]]] = []
        if self._drawn:
            parts.append((self._drawn, lambda own: self._draw(own, chance)))
        if noise is not None:
            parts.append((self._raced, lambda own: mx.argmax(own + noise, axis=-1)))
        if len(parts) == 1 and len(parts[0][0]) == len(self._rows):
            tokens = parts[0][1](logits.astype(mx.float32))
        else:
            tokens = mx.argmax(logits, axis=-1)
            for rows, choice in parts:
                tokens[mx.array(rows)] = choice(logits[mx.array(rows)].astype(mx.float32))
        for processor in self._processors:
            processor.observe(tokens)
        return tokens, self._logprobs.sampled if self._logprobs is not None else ()

    def _draw(self, logits: mx.array, chance: FloatArray) -> mx.array:
        if self.on_host:
            return mx.array(draw(np, np.asarray(logits), chance, self._filters).astype(np.uint32))
        drawn: mx.array = draw(mx, logits, mx.array(chance), self._filters).astype(mx.uint32)
        return drawn
