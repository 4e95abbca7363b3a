"""Prompts in prefill, and how much of which comes next. Decisions, apart from the arithmetic.

A prefill piece may delay running streams for a bounded time only, so the size of a piece follows from the measured
speed of the last pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lmx_daemon.engines.mlx.batch.scoring import PieceScores, Scoring
from lmx_daemon.engines.mlx.batch.step import Row

LIVE_SECONDS = 0.09
"""Target duration of a piece while streams are running, which pause that long."""
IDLE_SECONDS = 0.25
"""Target duration of a piece while no stream runs. A prompt that arrives meanwhile waits that long."""
MIN_TOKENS = 4
"""Smallest piece. A machine that needs longer for it than a piece may take exceeds the target."""
GRAIN = 16
"""Pieces of at least INFORMATIVE_TOKENS are multiples of this, which suits matrix units."""
INFORMATIVE_TOKENS = 64
"""Where larger pieces are usual, smaller ones are not measured: the fixed cost of a call would dominate."""
FULL = 0.75
"""Fraction of a step's budget from which a piece is measured however small it is."""
FOLDED = 64
"""Length of a prompt's last piece up to which the prompt's last token is computed with it. Only that token's logits are
needed, but the model computes the logits of every token in a call."""
FLAT_DEPTH = 512
"""Tokens in a cache below which the cost of attention is negligible."""
WEIGHT = 0.5
"""Weight of the newest measurement in the average."""


@dataclass(eq=False)
class PrefillPrompt:
    """Prompt in prefill. Several rows may share it (n > 1)."""

    rows: list[Row]
    tokens: Sequence[int]
    cache: list[Any]
    done: int
    """Tokens that `cache` holds. The last token of a prompt is computed by the first decode step."""
    arrival: int
    """Position in the order of arrival."""
    checkpoints: set[int] = field(default_factory=set)
    """Positions at which a piece must end."""
    scores: list[PieceScores] = field(default_factory=list)
    """Scores of pieces that are still being computed."""

    @property
    def left(self) -> int:
        """Tokens still to be computed in prefill."""
        return len(self.tokens) - 1 - self.done

    @property
    def scoring(self) -> Scoring | None:
        """The scores that its first row reports."""
        return self.rows[0].scoring

    @property
    def most(self) -> int:
        """Limit on the tokens of its next piece."""
        return self.left if self.scoring is None else self.scoring.most(self.done, FOLDED)

    @property
    def generates(self) -> bool:
        """Return whether its rows generate tokens."""
        return self.rows[0].max_tokens > 0


class Pace:
    """Measured prefill speed in tokens per second.

    Attention costs more with more tokens in the cache, so the speed is measured apart for each doubling of them.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._rates: dict[int, float] = {}

    def forget(self) -> None:
        """Discard all measurements."""
        self._rates.clear()

    def budget(self, held: int, live: bool) -> int:
        """Return the tokens that fill a step, for a prompt whose cache holds `held` tokens."""
        rate = self._rate(_depth(held))
        tokens = int(rate * _seconds(live)) if rate is not None else GRAIN
        grain = MIN_TOKENS if tokens < INFORMATIVE_TOKENS else GRAIN
        return min(max(MIN_TOKENS, tokens // grain * grain), self._max_tokens)

    def measured(self, pieces: Sequence[tuple[int, int]], seconds: float, live: bool) -> None:
        """Record that a step took `seconds` for `pieces`, each as (tokens held before it, tokens)."""
        tokens = sum(count for _, count in pieces)
        if not pieces or seconds <= 0:
            return
        filled = sum(count / self.budget(held, live) for held, count in pieces)
        if tokens < INFORMATIVE_TOKENS and filled < FULL:
            return
        usual = {_depth(held): self._rate(_depth(held)) or tokens / seconds for held, _ in pieces}
        speedup = sum(count / usual[_depth(held)] for held, count in pieces) / seconds
        self._rates |= {depth: rate * (WEIGHT * speedup + 1 - WEIGHT) for depth, rate in usual.items()}

    def _rate(self, depth: int) -> float | None:
        """Return the speed measured at `depth`, or at the nearest measured depth."""
        if not self._rates:
            return None
        return self._rates[min(self._rates, key=lambda known: abs(known - depth))]


def _seconds(live: bool) -> float:
    return LIVE_SECONDS if live else IDLE_SECONDS


def _depth(held: int) -> int:
    return max(held, FLAT_DEPTH).bit_length()


def choose_pieces(
    prompts: Sequence[PrefillPrompt], pace: Pace, live: bool, turn: int
) -> list[tuple[PrefillPrompt, int]]:
    """Return the prompts that come next, each with the number of its tokens to compute.

    In even turns the shortest prompt goes first, so that it does not wait behind a long one. In odd turns the oldest
    goes first, so that none starves. A piece that would leave only a few tokens takes them too.
    """
    chosen: list[tuple[PrefillPrompt, int]] = []
    share = 1.0
    for prompt in sorted(prompts, key=lambda prompt: (0 if turn % 2 else prompt.left, prompt.arrival)):
        whole = pace.budget(prompt.done, live)
        budget = int(whole * share)
        if chosen and budget < min(GRAIN, prompt.left):
            break
        count = prompt.left if prompt.left <= budget * 5 // 4 else budget
        ends = [position - prompt.done for position in prompt.checkpoints if prompt.done < position]
        count = min([count, prompt.most, *ends])
        chosen.append((prompt, count))
        share -= count / whole
    return chosen
