"""Answers of the engine in a trial, and their comparison. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmx_daemon.contract.errors import LmxError, error_from
from lmx_daemon.contract.generation.events import Delta, Event, Failed, Finished, Started, TokenLogprob

MAX_ROUNDING = 0.15
"""Largest difference of a token's probability that the rounding of 16-bit floats explains.

A batch adds its numbers in another order than a single row. A fault, such as the keys of another request, changes
probabilities by far more.
"""


@dataclass
class TrialAnswer:
    """The tokens of one answer, with the probabilities of the most likely tokens at each position."""

    sent_at: float
    tokens: list[int] = field(default_factory=list)
    likely: list[dict[int, float]] = field(default_factory=list)
    """Log-probabilities by token id."""
    times: list[float] = field(default_factory=list)
    """Time of each Delta."""
    prompt: int = 0
    cached: int = 0
    started_at: float | None = None
    failure: LmxError | None = None

    @property
    def first_token(self) -> float:
        """Seconds from the request to its first token; 0 without one."""
        return self.times[0] - self.sent_at if self.times else 0.0

    def consume(self, event: Event, now: float) -> None:
        """Add one event. Raises the error of a failed request."""
        match event:
            case Started(prompt_tokens=prompt, cached_tokens=cached):
                self.prompt, self.cached, self.started_at = prompt, cached, now
            case Delta(token_ids=ids, logprobs=logprobs) if ids or logprobs:
                self.times.append(now)
                self.tokens += [each.id for each in logprobs] or ids
                self.likely += map(_likely, logprobs)
            case Finished(usage=usage):
                self.prompt = usage.prompt_tokens
            case Failed(error=error):
                raise error_from(error)


@dataclass(frozen=True)
class Comparison:
    """Result of comparing answers to the same requests."""

    answers: int
    equal: int
    rounding: float = 0.0
    """Largest difference of a probability before and at the first different token."""

    @property
    def sound(self) -> bool:
        """Return whether all answers are equal, or differ by rounding only."""
        return self.equal == self.answers or self.rounding <= MAX_ROUNDING


def compare(first: Sequence[TrialAnswer], second: Sequence[TrialAnswer]) -> Comparison:
    """Compare two lists of answers in order."""
    pairs = list(zip(first, second, strict=True))
    unequal = [pair for pair in pairs if pair[0].tokens != pair[1].tokens]
    return Comparison(len(pairs), len(pairs) - len(unequal), max((difference(*pair) for pair in unequal), default=0.0))


def difference(first: TrialAnswer, second: TrialAnswer) -> float:
    """Return the largest difference of a probability up to the first position where the tokens differ.

    Up to there, both were computed from the same tokens. If one answer is the beginning of the other, return 1.
    """
    largest = 0.0
    for position, (mine, other) in enumerate(zip(first.tokens, second.tokens, strict=False)):
        if position >= min(len(first.likely), len(second.likely)):
            return 1.0
        largest = max(largest, _distance(first.likely[position], second.likely[position]))
        if mine != other:
            return largest
    return 1.0


def _likely(token: TokenLogprob) -> dict[int, float]:
    return {each.id: each.logprob for each in token.top if each.logprob is not None}


def _distance(first: dict[int, float], second: dict[int, float]) -> float:
    """Return the largest difference of probability of a token that is in both lists; 1 if no token is."""
    common = first.keys() & second.keys()
    return max((abs(_probability(first[token]) - _probability(second[token])) for token in common), default=1.0)


def _probability(logprob: float) -> float:
    return math.exp(min(0.0, logprob))
