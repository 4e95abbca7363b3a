"""A second process that computes half of each step, because MLX runs one CPU stream on one core."""

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.qwen3 import Model, ModelArgs

from training import model as shape
from training.batches import PaddedBatch


class Gradient:
    """Loss of a batch and its gradient with respect to the trainable weights."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.function = nn.value_and_grad(model, shape.loss)

    def __call__(self, batch: PaddedBatch) -> tuple[float, Any]:
        arrays = [mx.array(a) for a in (batch.ids, batch.places, batch.targets, batch.weights)]
        value, gradient = self.function(self.model, *arrays)
        mx.eval(value, gradient)
        return value.item(), gradient


class SecondCore:
    """The same model in another process. `submit` starts the computation, `result` waits for the gradient."""

    def __init__(self, model: Model, initialised_is_frozen: bool) -> None:
        self.model = model
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        words = model.model.embed_tokens.weight.shape[0]
        self.process = context.Process(target=work, args=(theirs, words, initialised_is_frozen), daemon=True)
        self.process.start()

    def submit(self, batch: PaddedBatch) -> None:
        self.pipe.send((plain(self.model.parameters()), batch))

    def result(self) -> tuple[float, dict[str, mx.array]]:
        """Return the loss and the gradients, keyed by the path of the weight."""
        value, gradient = self.pipe.recv()
        return value, {path: mx.array(each) for path, each in gradient}

    def close(self) -> None:
        self.process.terminate()
        self.process.join()


def work(pipe: Connection, words: int, initialised_is_frozen: bool) -> None:
    mx.set_default_device(mx.cpu)
    model = Model(ModelArgs.from_dict({**shape.SHAPE, "vocab_size": words}))
    if initialised_is_frozen:
        shape.freeze_initialised(model)
    gradient = Gradient(model)
    while True:
        weights, batch = pipe.recv()
        model.update(tree_unflatten([(path, mx.array(each)) for path, each in weights]))
        value, each = gradient(batch)
        pipe.send((value, plain(each)))


def plain(tree: Any) -> list[tuple[str, Any]]:
    return [(path, np.array(value)) for path, value in tree_flatten(tree)]
