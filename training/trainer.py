"""The steps of one stage: gradients on two cores, the optimiser, and the moving average of the weights."""

from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_map_with_path
from mlx_lm.models.qwen3 import Model

from training.batches import PaddedBatch
from training.plan import Stage
from training.second_core import Gradient, SecondCore

LAST_RATE = 0.06
"""Final learning rate as a share of the peak rate."""
WORDS = 0.03
"""Learning rate of the embeddings as a share of the rate, so that rare words keep their initial meaning."""
AVERAGED = 0.985
"""Decay of the moving average of the weights."""
AVERAGE_FROM = 0.8
"""Share of the steps after which the average begins."""


class Trainer:
    """Training of a model in one stage. Without a second core, both halves of a step run here, with the same result."""

    def __init__(self, model: Model, stage: Stage, second: SecondCore | None) -> None:
        self.model = model
        self.stage = stage
        self.second = second
        self.optimizer = optim.MultiOptimizer(
            [self.adam(WORDS * stage.rate, weight_decay=0.0), self.adam(stage.rate, weight_decay=0.05)],
            [lambda path, _: "embed_tokens" in path],
        )
        self.optimizer.init(model.trainable_parameters())
        self.gradient = Gradient(model)
        self.average: Any = None
        self.taken = 0

    def adam(self, rate: float, weight_decay: float) -> optim.Optimizer:
        rise = optim.linear_schedule(0.0, rate, self.stage.warm_up)
        fall = optim.cosine_decay(rate, self.stage.steps - self.stage.warm_up, LAST_RATE * rate)
        schedule = optim.join_schedules([rise, fall], [self.stage.warm_up])
        return optim.AdamW(schedule, betas=[0.9, 0.98], weight_decay=weight_decay)

    def state(self) -> dict[str, Any]:
        """Return the trees that a checkpoint keeps."""
        trees = {"weights": self.model.parameters(), "optimiser": self.optimizer.state}
        return trees if self.average is None else {**trees, "average": self.average}

    def restore(self, taken: int, trees: dict[str, Any]) -> None:
        """Continue after `taken` steps of the stage with the trees of a checkpoint."""
        self.taken = taken
        self.model.update(trees["weights"])
        self.optimizer.state = trees["optimiser"]
        self.average = trees.get("average")
        mx.eval(self.model.parameters(), self.optimizer.state)

    def finish(self) -> None:
        """Make the averaged weights those of the model."""
        if self.average is not None:
            self.model.update(self.average)

    def step(self, batches: list[PaddedBatch]) -> float:
        """Take one step on one or two micro-batches and return the loss before it."""
        total, gradients = self.mean_gradient(batches)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self.optimizer.state)
        self.taken += 1
        self.update_average()
        return total

    def mean_gradient(self, batches: list[PaddedBatch]) -> tuple[float, Any]:
        """Return the mean loss of the micro-batches and its gradient."""
        if len(batches) == 1:
            return self.gradient(batches[0])
        if self.second:
            self.second.submit(batches[1])
        total, gradients = self.gradient(batches[0])
        if self.second:
            value, others = self.second.result()
        else:
            value, tree = self.gradient(batches[1])
            others = dict(tree_flatten(tree))
        mean = tree_map_with_path(lambda path, mine: (mine + others[path]) / 2, gradients)
        return (total + value) / 2, mean

    def update_average(self) -> None:
        if self.taken < AVERAGE_FROM * self.stage.steps or self.taken % 2:
            return
        weights = self.model.parameters()
        if self.average is None:
            self.average = tree_map(lambda w: w + 0.0, weights)
        else:
            self.average = tree_map(lambda a, w: AVERAGED * a + (1 - AVERAGED) * w, self.average, weights)
        mx.eval(self.average)
