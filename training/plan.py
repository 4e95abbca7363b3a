"""Stages of a training run: steps, learning rates and shares of samples."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """Steps under one learning-rate schedule: a warm-up, then a cosine decay."""

    name: str
    steps: int
    rate: float
    """Peak learning rate."""
    tool_shares: tuple[float, ...]
    """Share of samples with tools in each of several stretches of equal length."""
    initialised_is_frozen: bool = False
    """Whether the embeddings and the layers of the copying circuit stay as they are."""
    warm_up: int = 80

    def tool_share(self, taken: int) -> float:
        """Return the share of samples with tools after `taken` steps."""
        stretch = min(taken * len(self.tool_shares) // self.steps, len(self.tool_shares) - 1)
        return self.tool_shares[stretch]


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that determines a run, besides the code and the topics."""

    seed: int
    stages: tuple[Stage, ...]
    budget: int
    """Padded tokens in one micro-batch. A step has two micro-batches."""
    pool: int
    """Number of rows that are sorted by length together."""


GUIDE_PLAN = TrainingPlan(
    seed=20,
    stages=(
        Stage("alone", 900, 2.5e-3, (0.0,), initialised_is_frozen=True),
        Stage("together", 6000, 8e-4, (0.5, 0.5, 0.5, 0.25)),
    ),
    budget=1300,
    pool=192,
)
"""The plan of the weights that ship."""
