"""Prompts on their way into the batch, and how much of which comes next: decisions, apart from the arithmetic.

A step may hold running streams up for a measured time only, so the size of a piece follows from how long the last
pieces took.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LIVE_SECONDS = 0.08
"""What a piece may take while streams are live: they pause so long."""
IDLE_SECONDS = 0.25
"""And while there are none: a prompt that arrives now waits so long."""
LEAST = 4
"""Tokens; a machine that takes longer for these than a piece may take is slower than it can be polite."""
GRAIN = 16
"""Larger pieces are whole multiples, which matrix units like."""
TELLING = 64
"""Where larger pieces are usual, smaller ones say little: a call of the model costs something in itself."""
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
    cached: int = field(init=False)
    checkpoints: set[int] = field(default_factory=set)
    """Positions at which a piece must end."""

    def __post_init__(self) -> None:
        self.cached = self.done

    @property
    def left(self) -> int:
        return len(self.tokens) - 1 - self.done


class Pace:
    """Tokens a second, as measured."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rate: float | None = None
        self._granted = 0

    def measured(self, tokens: int, seconds: float) -> None:
        if tokens < min(TELLING, self._granted) or tokens < 1 or seconds <= 0:
            return
        rate = tokens / seconds
        self._rate = rate if self._rate is None else WEIGHT * rate + (1 - WEIGHT) * self._rate

    def forget(self) -> None:
        self._rate = None

    def budget(self, live: bool) -> int:
        """Prompt tokens for the next step."""
        if self._rate is None:
            self._granted = GRAIN
        else:
            tokens = int(self._rate * (LIVE_SECONDS if live else IDLE_SECONDS))
            self._granted = max(LEAST, tokens if tokens < GRAIN else tokens // GRAIN * GRAIN)
        self._granted = min(self._granted, self._most)
        return self._granted


def pieces(prompts: Sequence[Prompt], budget: int, turn: int) -> list[tuple[Prompt, int]]:
    """How many tokens of which prompts come next.

    In turns the shortest goes first, so that none waits behind a long one, and the oldest, so that none starves. A
    piece that would leave a few tokens takes them too.
    """
    chosen: list[tuple[Prompt, int]] = []
    ranked = sorted(prompts, key=lambda prompt: (0 if turn % 2 else prompt.left, prompt.arrival))
    for prompt in ranked:
        if chosen and budget < min(GRAIN, prompt.left):
            break
        count = prompt.left if prompt.left <= budget * 5 // 4 else budget
        ends = [position - prompt.done for position in prompt.checkpoints if prompt.done < position]
        count = min([count, *ends])
        chosen.append((prompt, count))
        budget -= count
    return chosen
