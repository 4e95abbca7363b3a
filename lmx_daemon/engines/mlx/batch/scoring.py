"""Scoring: the log-probabilities of prompt tokens that a row reports, computed in pieces of bounded size.

The model returns the logits of every token of a call. Where they are needed, a call has few tokens, so that no array of
the whole prompt by the vocabulary exists. Engine thread only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lmx_daemon.engines.mlx.sampling.log_probabilities import chosen_and_likeliest, log_probabilities
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs

LOGIT_BYTES = 64 * 1024 * 1024
"""Size of the float32 logits of one piece."""
COPIES = 4
"""Arrays of that size that exist together: logits, log-probabilities, and the temporary ones of a partition."""


def piece_tokens(vocabulary: int) -> int:
    """Return the number of tokens of a piece whose logits are needed."""
    return max(1, LOGIT_BYTES // (4 * vocabulary))


def scratch_bytes(tokens: int, vocabulary: int) -> int:
    """Return the memory that scoring a prompt of `tokens` takes beside its KV cache."""
    return COPIES * 4 * vocabulary * min(tokens, piece_tokens(vocabulary))


@dataclass(frozen=True)
class Scoring:
    """The log-probabilities that a row reports: those of its prompt's tokens from position `start` on."""

    start: int
    """Position of the first token, at least 1. A cache that the row begins with must be shorter."""
    vocabulary: int
    top: int = 0
    """Number of likeliest tokens at each position."""
    candidates: tuple[int, ...] = ()
    """Further tokens whose log-probabilities at each position are reported."""

    def most(self, done: int, folded: int) -> int:
        """Return the limit on the next piece of a prompt with `done` computed tokens.

        Up to `folded` tokens whose logits are not needed are computed with the others.
        """
        unscored = self.start - 1 - done
        return unscored if unscored > folded else piece_tokens(self.vocabulary)


@dataclass(frozen=True)
class TokenScore:
    """Log-probabilities at one position of a prompt."""

    position: int
    logprobs: Logprobs
    """Those of the prompt's own token, and of the likeliest ones."""
    candidates: tuple[float, ...] = ()
    """Those of the candidates, in their order."""


class PieceScores:
    """The scores of one piece, possibly still being computed."""

    def __init__(self, scoring: Scoring, tokens: Sequence[int], done: int, logits: mx.array) -> None:
        """Begin to compute the scores of prompt `tokens` from `logits` [count, vocabulary] of those from `done` on."""
        self._first = max(done + 1, scoring.start)
        scored = tokens[self._first : done + 1 + logits.shape[0]]
        logprobs = log_probabilities(logits[self._first - 1 - done :])
        chosen, likeliest, values = chosen_and_likeliest(logprobs, mx.array(list(scored), mx.uint32), scoring.top)
        candidates = logprobs[:, mx.array(list(scoring.candidates), mx.uint32)]
        self.arrays = chosen, likeliest, values, candidates

    def read(self) -> list[TokenScore]:
        """Wait for the scores and return them in the order of their positions."""
        rows: Any = zip(*(array.tolist() for array in self.arrays), strict=True)
        return [
            TokenScore(position, Logprobs(chosen, tuple(zip(ids, values, strict=True))), tuple(candidates))
            for position, (chosen, ids, values, candidates) in enumerate(rows, self._first)
        ]
