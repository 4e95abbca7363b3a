"""Prompts on their way into the batch, and how much of which comes next: decisions, apart from the arithmetic.

A step may hold running streams up for a measured time only, so the size of a piece follows from how long the last
pieces took.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LIVE_SECONDS = 0.09
"""What a piece may take while streams are live: they pause so long."""
IDLE_SECONDS = 0.25
"""And while there are none: a prompt that arrives now waits so long."""
LEAST = 4
"""Tokens; a machine that takes longer for these than a piece may take is slower than it can be polite."""
GRAIN = 16
"""Larger pieces than the next figure are whole multiples, which matrix units like."""
TELLING = 64
"""Where larger pieces are usual, smaller ones say little: a call of the model costs something in itself."""
FULL = 0.75
"""Of a step's budget; a piece that takes so much says something however small it is."""
FLAT = 512
"""Tokens; behind fewer, attention costs next to nothing."""
WEIGHT = 0.5
"""Of the newest measurement."""


@dataclass(eq=False)
class Prompt:
    """One prompt's way through the model; several rows may share it (n > 1)."""

    rows: list[int]
    tokens: Sequence[int]
    cache: list[Any]
    done: int
    """Tokens that `cache` holds. The last token of a prompt goes with the first decode step."""
    arrival: int
    checkpoints: set[int] = field(default_factory=set)
    """Positions at which a piece must end."""

    @property
    def left(self) -> int:
        return len(self.tokens) - 1 - self.done


class Pace:
    """Tokens a second, as measured: apart for each doubling of what a prompt's cache holds, since attention costs more
    the more there is to attend to."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rates: dict[int, float] = {}

    def forget(self) -> None:
        self._rates.clear()

    def budget(self, held: int, live: bool) -> int:
        """Tokens that fill a step, of a prompt whose cache holds so many."""
        rate = self._rate(_depth(held))
        tokens = int(rate * _seconds(live)) if rate is not None else GRAIN
        grain = LEAST if tokens < TELLING else GRAIN
        return min(max(LEAST, tokens // grain * grain), self._most)

    def measured(self, taken: Sequence[tuple[int, int]], seconds: float, live: bool) -> None:
        """A step took so long for pieces of (tokens held before, tokens)."""
        tokens = sum(count for _, count in taken)
        if not taken or seconds <= 0:
            return
        if tokens < TELLING and sum(count / self.budget(held, live) for held, count in taken) < FULL:
            return
        usual = {_depth(held): self._rate(_depth(held)) or tokens / seconds for held, _ in taken}
        quicker = sum(count / usual[_depth(held)] for held, count in taken) / seconds
        self._rates |= {depth: rate * (WEIGHT * quicker + 1 - WEIGHT) for depth, rate in usual.items()}

    def _rate(self, depth: int) -> float | None:
        """As measured there, or as near as possible."""
        if not self._rates:
            return None
        return self._rates[min(self._rates, key=lambda known: abs(known - depth))]


def _seconds(live: bool) -> float:
    return LIVE_SECONDS if live else IDLE_SECONDS


def _depth(held: int) -> int:
    return max(held, FLAT).bit_length()


def pieces(prompts: Sequence[Prompt], pace: Pace, live: bool, turn: int) -> list[tuple[Prompt, int]]:
    """How many tokens of which prompts come next.

    In turns the shortest goes first, so that none waits behind a long one, and the oldest, so that none starves. A
    piece that would leave a few tokens takes them too.
    """
    chosen: list[tuple[Prompt, int]] = []
    share = 1.0
    for prompt in sorted(prompts, key=lambda prompt: (0 if turn % 2 else prompt.left, prompt.arrival)):
        whole = pace.budget(prompt.done, live)
        budget = int(whole * share)
        if chosen and budget < min(GRAIN, prompt.left):
            break
        count = prompt.left if prompt.left <= budget * 5 // 4 else budget
        ends = [position - prompt.done for position in prompt.checkpoints if prompt.done < position]
        count = min([count, *ends])
        chosen.append((prompt, count))
        share -= count / whole
    return chosen
