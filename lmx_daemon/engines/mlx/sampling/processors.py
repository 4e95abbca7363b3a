"""The ordered list of logits processors: bias, penalties, token masks and log-probabilities, vectorised over rows.

A processor is built for a fixed list of rows and called once for each decode step. It changes logits only; it has no
access to scheduling, caches or text. Engine thread only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from lmx_daemon.engines.mlx import platform
from lmx_daemon.engines.mlx.sampling.log_probabilities import chosen_and_likeliest, log_probabilities
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams

ALL = np.uint32(0xFFFFFFFF)
"""Word of a mask that allows all tokens."""


class TokenConstraint(Protocol):
    """The tokens that one row may generate next, for example by a grammar."""

    @property
    def words(self) -> int:
        """Number of words of its mask. All constraints of a model have the same."""

    def advance(self, token: int, stops: bool) -> str | None:
        """Accept the row's newest token, which is a stop token if `stops`.

        Return the reason why the row ends: "stop", "complete" after the last token of an answer that cannot go on, or
        "failed". None lets it continue.
        """

    @classmethod
    def write(cls, rows: Sequence[tuple[Self, int]], bits: npt.NDArray[np.uint32]) -> None:
        """Write the mask of each constraint to its row of `bits` [rows, words]: one bit for each token, 1 if allowed.

        At least one token is allowed in each row.
        """


class TokenCounts:
    """The tokens that a row's penalties depend on: those of its prompt, and the count of each generated token."""

    def __init__(self, prompt: Sequence[int], vocabulary: int, generated: Sequence[int] = ()) -> None:
        self.seen = mx.zeros((vocabulary,), mx.bool_)
        counts = np.bincount(np.asarray(generated, np.int64), minlength=vocabulary)
        self.generated = mx.array(counts.astype(np.float32))
        self.seen[mx.array(list(prompt), mx.uint32)] = True


@dataclass(eq=False)
class SampledRow:
    """Row of the batch as the sampler and the logits processors see it."""

    params: SamplingParams
    counts: TokenCounts | None = None
    """Set for rows with penalties. It outlives the processors, which are rebuilt when the rows change."""
    constraint: TokenConstraint | None = None


class LogitsProcessor(Protocol):
    """Change to the logits of all rows."""

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
    """The constraints of rows: the logits of tokens that are not allowed become minus infinity.

    The masks are computed while MLX computes the logits, and applied to all rows at once.
    """

    def __init__(self, rows: Sequence[SampledRow], vocabulary: int) -> None:
        self._constrained = [row for row, each in enumerate(rows) if each.constraint is not None]
        constraint = rows[self._constrained[0]].constraint
        assert constraint is not None
        self._bits = np.full((len(rows), constraint.words), ALL, np.uint32)
        """The masks of all rows. Those of rows without a constraint never change."""
        self._masks = platform.backend().masks(self._constrained, len(rows), vocabulary)

    def __call__(self, logits: mx.array, rows: Sequence[SampledRow]) -> mx.array:
        """Return the masked logits."""
        self.write(rows)
        return self.apply(logits)

    def write(self, rows: Sequence[SampledRow]) -> None:
        """Compute the masks of the next tokens."""
        constraints: Any = [(rows[row].constraint, row) for row in self._constrained]
        constraints[0][0].write(constraints, self._bits)

    def apply(self, logits: mx.array) -> mx.array:
        """Return the logits with the masks that were computed last. On the host, wait for the logits."""
        return self._masks.apply(logits, self._bits)

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
        logprobs = log_probabilities(self._logits[rows])
        self._logits = None
        self.sampled = chosen_and_likeliest(logprobs, tokens[rows], self._most)


def _float32(logits: mx.array) -> mx.array:
    # bfloat16 has steps of 0.25 above 32: a small penalty would be lost.
    return logits.astype(mx.float32)


def _with_rows(logits: mx.array, rows: mx.array, values: mx.array) -> mx.array:
    """Return a copy of `logits` whose `rows` are `values`."""
    copied = logits + 0
    copied[rows] = values
    return copied
