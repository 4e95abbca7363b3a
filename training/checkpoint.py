"""Checkpoints of a training run: weights, optimiser state, moving average and position, in one file.

A checkpoint is replaced in one step, so that a kill at any instant leaves a whole one. A run that continues from it has
the same losses as a run that was never interrupted, since the samples depend on the position only.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

NAME = "checkpoint.safetensors"
TREES = ("weights", "optimiser", "average")


@dataclass(frozen=True)
class Position:
    """Place in a run: the next step to take."""

    stage: int = 0
    taken: int = 0
    """Steps taken in the stage."""
    pool: int = 0
    """Index of the pool of samples, counted over all stages."""
    batch: int = 0
    """Index of the next step's batches in the pool."""
    begun: int = 0
    """Steps that had been taken in the stage when the pool began. They determine its share of tools."""


@dataclass(frozen=True)
class TrainingCheckpoint:
    """State of a run between two steps."""

    position: Position
    recent: float
    """Moving average of the loss, for the log."""
    seconds: float
    """Time that the run has taken."""
    origin: str
    """What the run depends on: the plan and the topics, as a hash."""
    trees: Mapping[str, Any]
    """Trees of arrays by name; `average` is absent before the average begins."""

    def write(self, folder: Path) -> None:
        """Replace the checkpoint in a folder."""
        arrays = {f"{tree}.{path}": each for tree, values in self.trees.items() for path, each in flat(values)}
        state = {"recent": self.recent, "seconds": self.seconds, "origin": self.origin, **asdict(self.position)}
        temporary = folder / f"new-{NAME}"
        mx.save_safetensors(str(temporary), arrays, metadata={"state": json.dumps(state)})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(folder / NAME)

    @classmethod
    def read(cls, folder: Path) -> "TrainingCheckpoint | None":
        """Return the checkpoint in a folder; None if there is none."""
        file = folder / NAME
        if not file.exists():
            return None
        arrays, metadata = cast(tuple[dict[str, Any], Any], mx.load(str(file), return_metadata=True))
        state = json.loads(metadata["state"])
        parts = {tree: part for tree in TREES if (part := below(arrays, tree))}
        seen = {name: state.pop(name) for name in ("recent", "seconds", "origin")}
        return cls(Position(**state), **seen, trees=parts)


def flat(tree: Any) -> list[tuple[str, mx.array]]:
    return [(path, mx.array(each)) for path, each in tree_flatten(tree)]


def below(arrays: Mapping[str, mx.array], tree: str) -> Any:
    """Return the tree of the arrays whose names begin with `tree`."""
    found = [(name.removeprefix(f"{tree}."), each) for name, each in arrays.items() if name.startswith(f"{tree}.")]
    return tree_unflatten(found) if found else None
