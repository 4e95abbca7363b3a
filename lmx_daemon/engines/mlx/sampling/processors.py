"""The ordered list of logits processors: bias, penalties, token masks and log-probabilities, vectorised over rows.

A processor is built for a fixed list of rows and called once for each decode step. It changes logits only; it has no
access to scheduling, caches or text. Engine thread only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams


class TokenConstraint(Protocol):
    """The tokens that one row may generate next, for example by a grammar."""

    def advance(self, token: int) -> None:
        """Accept the row's newest token. Called for each token that does not end the row."""

    def mask(self) -> npt.NDArray[np.bool_] | None:
        """Return the allowed tokens [vocabulary], of which there is at least one, or None if all are allowed."""


class TokenCounts:
    """The tokens that a row's penalties depend on: those of its prompt, and the count of each generated token."""

    def __init__(self, prompt: Sequence[int], vocabulary: int, generated: Sequence[int] = ()) -> None:
        self.seen = mx.zeros((vocabulary,), mx.bool_)
        counts = np.bincount(np.asarray(generated, np.int64), minlength=vocabulary)
        self.generated = mx.array(counts.astype(np.float32))
        self.seen[mx.array(list(prompt), mx.uint32)] = True


@dataclass(eq=False)
class SampledRow:
    """One row of the batch as the sampler and the logits processors see it."""

    params: SamplingParams
    counts: TokenCounts | None = None
    """Set for rows with penalties. It outlives the processors, which are rebuilt when the rows change."""
    constraint: TokenConstraint | None = None


class LogitsProcessor(Protocol):
    """One change to the logits of all rows."""

    def __call__(self, logits: mx.array, rows: Sequence[SampledRow]) -> mx.array:
        """Return the changed `logits` [rows, vocabulary]. The input is left as it is."""

    def observe(self, tokens: mx.array) -> None:
        """Account for the `tokens` [rows] that were sampled from the processed logits."""


def processors_for(rows: Sequence[SampledRow], vocabulary: int) -> list[LogitsProcessor]:
    """Return the processors that `rows` need, in the order in which they apply; none for rows without options."""
    processors: list[LogitsProcessor] = []
    if any(row.params.bias for row in rows):
        processors.append(Bias(rows, vocabulary))
    if any(row.counts is not None for row in rows):
        processors.append(Penalties(rows))
    if any(row.constraint is not None for row in rows):
        processors.append(TokenMask(rows, vocabulary))
    if any(row.params.top_logprobs is not None for row in rows):
        processors.append(LogProbabilities(rows))
    return processors


class Bias:
    """`logit_bias`: a number added to the logits of single tokens."""

    def __init__(self, rows: Sequence[SampledRow], vocabulary: int) -> None:
        biased = [row for row, each in enumerate(rows) if each.params.bias]
        values = np.zeros((len(biased), vocabulary), np.float32)
        for index, row in enumerate(biased):
            bias = rows[row].params.bias
            values[index, list(bias)] = list(bias.values())
        self._rows, self._values = mx.array(biased), mx.array(values)

    def __call__(self, logits: mx.array, rows: Sequence[SampledRow]) -> mx.array:
        """Return float32 logits with the bias added."""
        changed: mx.array = _float32(logits).at[self._rows].add(self._values)
        return changed

    def observe(self, tokens: mx.array) -> None:
        """Do nothing: a bias does not depend on the tokens."""


class Penalties:
    """Presence and frequency penalties for generated tokens, and the repetition penalty, also for the prompt's."""

    def __init__(self, rows: Sequence[SampledRow]) -> None:
        penalised = [(row, each.params, each.counts) for row, each in enumerate(rows) if each.counts is not None]
        self._counts = [counts for _, _, counts in penalised]
        self._rows = mx.array([row for row, _, _ in penalised])
        self._seen = mx.stack([counts.seen for counts in self._counts])
        self._generated = mx.stack([counts.generated for counts in self._counts])
        self._repetition, self._presence, self._frequency = (
            mx.array([getattr(params, name) for _, params, _ in penalised])[:, None]
            for name in ("repetition_penalty", "presence_penalty", "frequency_penalty")
        )

    def __call__(self, logits: mx.array, rows: Sequence[SampledRow]) -> mx.array:
        """Return float32 logits with the penalties applied."""
        logits = _float32(logits)
        own = logits[self._rows]
        repeated = mx.where(own > 0, own / self._repetition, own * self._repetition)
        own = mx.where(self._seen | (self._generated > 0), repeated, own)
        own = own - self._frequency * self._generated - self._presence * (self._generated > 0)
        return _with_rows(logits, self._rows, own)

    def observe(self, tokens: mx.array) -> None:
        """Count the sampled tokens."""
        self._generated = self._generated.at[mx.arange(len(self._counts)), tokens[self._rows]].add(1.0)
        for index, counts in enumerate(self._counts):
            counts.generated = self._generated[index]


class TokenMask:
    """The constraints of rows: the logits of tokens that are not allowed become minus infinity."""

    def __init__(self, rows: Sequence[SampledRow], vocabulary: int) -> None:
        self._constrained = [row for row, each in enumerate(rows) if each.constraint is not None]
        self._rows = mx.array(self._constrained)
        self._allowed = np.ones((len(self._constrained), vocabulary), np.bool_)

    def __call__(self, logits: mx.array, rows: Sequence[SampledRow]) -> mx.array:
        """Return the masked logits. Raise ValueError if a constraint allows no token."""
        for index, row in enumerate(self._constrained):
            constraint = rows[row].constraint
            mask = constraint.mask() if constraint is not None else None
            if mask is not None and not mask.any():
                raise ValueError("a constraint allows no token")
            self._allowed[index] = True if mask is None else mask
        masked = mx.where(mx.array(self._allowed), logits[self._rows], mx.array(-mx.inf, logits.dtype))
        return masked if len(self._constrained) == len(rows) else _with_rows(logits, self._rows, masked)

    def observe(self, tokens: mx.array) -> None:
        """Do nothing: a constraint advances when its row's token is read."""


class LogProbabilities:
    """Log-probabilities of the sampled and the likeliest tokens. It is the last processor, and changes no logits."""

    def __init__(self, rows: Sequence[SampledRow]) -> None:
        self.rows = [row for row, each in enumerate(rows) if each.params.top_logprobs is not None]
        """Indices of the rows with log-probabilities."""
        self._most = max(rows[row].params.top_logprobs or 0 for row in self.rows)
        self._logits: mx.array | None = None
        self.sampled: tuple[mx.array, ...] = ()
        """For the newest tokens, in the order of `rows`: log-probabilities of the sampled tokens [rows], the likeliest
        tokens [rows, most] and their log-probabilities [rows, most]."""

    def __call__(self, logits: mx.array, rows: Sequence[SampledRow]) -> mx.array:
        """Keep `logits` for `observe` and return them as they are."""
        self._logits = logits
        return logits

    def observe(self, tokens: mx.array) -> None:
        """Set `sampled` for these tokens."""
        assert self._logits is not None
        rows = mx.array(self.rows)
        own = _float32(self._logits[rows])
        self._logits = None
        logprobs = own - mx.logsumexp(own, axis=-1, keepdims=True)
        chosen = mx.take_along_axis(logprobs, tokens[rows][:, None], axis=-1)[:, 0]
        most = min(self._most, logprobs.shape[-1])
        likeliest = mx.argsort(-logprobs, axis=-1)[:, :most]
        self.sampled = chosen, likeliest, mx.take_along_axis(logprobs, likeliest, axis=-1)


def _float32(logits: mx.array) -> mx.array:
    # bfloat16 has steps of 0.25 above 32: a small penalty would be lost.
    return logits.astype(mx.float32)


def _with_rows(logits: mx.array, rows: mx.array, values: mx.array) -> mx.array:
    """Return a copy of `logits` whose `rows` are `values`."""
    copied = logits + 0
    copied[rows] = values
    return copied
