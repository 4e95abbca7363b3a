"""Initialisation of an induction head, which copies words from the prompt.

Small models learn to copy unseen words late or never, so that the circuit is written into the weights before training
(Olsson et al. 2022, arXiv:2209.11895). In one layer, two heads attend one and two tokens back. In the next layer, one
head attends to the position after an earlier occurrence of the same two tokens, and predicts the token there.
"""

import mlx.core as mx
import numpy as np
from mlx_lm.models.qwen3 import Model
from numpy.typing import NDArray

from training.circuits.channels import CONSTANT, FIXED, IDENTITY, PREVIOUS, SINK, SPREAD

Matrix = NDArray[np.float64]

FIRST = 0
"""Index of the layer with the previous-token heads. The next layer has the induction head."""
NORM_SCALE = 2.5
"""Scale of the query and key norms, high enough for a head to attend to one position."""
FAST_FREQUENCY = 0.02
"""Rotary frequencies above this limit encode position. Those below carry content."""
SECOND_WEIGHT = 0.7
"""Weight of the match of the token two back, relative to the token one back."""
SINK_COSINE = 0.5
"""Cosine of every query with the key of the sink: above that of a random key, below that of a match."""
OUTPUT_GAIN = 4.0
"""Gain of the copied token over the current token, which all channels of the residual stream represent."""


class Circuit:
    """Induction head. Where nothing matches it attends to the token `sink`, which every prompt starts with."""

    def __init__(self, model: Model, theta: float, size: int, sink: int, seed: int) -> None:
        self.model = model
        self.size = size
        self.half = size // 2
        self.frequencies = theta ** (-np.arange(self.half) / self.half)
        self.sink = sink
        self.random = np.random.default_rng(seed)
        self.copied = self.orthonormal(size, IDENTITY.stop - IDENTITY.start)

    def initialise(self) -> None:
        embeddings = np.array(self.model.model.embed_tokens.weight)
        embeddings[self.sink] = 0.0
        embeddings[self.sink, SINK] = FIXED
        embeddings[:, CONSTANT] = FIXED
        self.model.model.embed_tokens.weight = mx.array(embeddings)
        for layer in self.model.model.layers[FIRST : FIRST + 2]:
            for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
                norm.weight = norm.weight * NORM_SCALE
        code = self.orthonormal(PREVIOUS[0].stop - PREVIOUS[0].start, IDENTITY.stop - IDENTITY.start)
        self.write_previous_token_heads(code)
        self.write_induction_head(code)

    def write_previous_token_heads(self, code: Matrix) -> None:
        """Let head n attend n + 1 tokens back and write the identity of that token, projected by `code`."""
        layer = self.model.model.layers[FIRST].self_attn
        weights = weights_of(layer)
        fast = np.flatnonzero(self.frequencies > FAST_FREQUENCY)
        for head in (0, 1):
            rows = self.rows(head)
            for name in ("q_proj", "k_proj", "v_proj"):
                weights[name][rows] = 0.0
            weights["o_proj"][:, rows] = 0.0
            turn = (head + 1) * self.frequencies[fast]
            weights["q_proj"][rows.start + fast, CONSTANT] = 3.0
            weights["k_proj"][rows.start + fast, CONSTANT] = 3.0 * np.cos(turn)
            weights["k_proj"][rows.start + self.half + fast, CONSTANT] = 3.0 * np.sin(turn)
            seen = slice(rows.start, rows.start + len(code))
            weights["v_proj"][seen, IDENTITY] = code
            weights["o_proj"][PREVIOUS[head], seen] = np.eye(len(code)) * SPREAD
        put(layer, weights)

    def write_induction_head(self, code: Matrix) -> None:
        """Let a head of the next layer match the current and previous token with the two tokens before a position."""
        layer = self.model.model.layers[FIRST + 1].self_attn
        weights = weights_of(layer)
        slow = np.flatnonzero(self.frequencies <= FAST_FREQUENCY)
        content = np.concatenate([slow, slow + self.half])
        first, second = (self.random.normal(size=(len(content), len(code))) for _ in range(2))
        rows = self.rows(0)
        for name in ("q_proj", "k_proj", "v_proj"):
            weights[name][rows] = 0.0
        weights["o_proj"][:, rows] = 0.0
        weights["q_proj"][content, IDENTITY] = first @ code
        weights["q_proj"][content, PREVIOUS[0]] = SECOND_WEIGHT * second
        weights["k_proj"][content, PREVIOUS[0]] = first
        weights["k_proj"][content, PREVIOUS[1]] = SECOND_WEIGHT * second
        self.write_sink(weights, content)
        weights["v_proj"][rows, IDENTITY] = self.copied
        put(layer, weights)

    def enable(self) -> None:
        """Connect the output of the induction head, which is zero before, because copying is noise for questions."""
        layer = self.model.model.layers[FIRST + 1].self_attn
        weights = weights_of(layer)
        weights["o_proj"][IDENTITY, self.rows(0)] = self.copied.T * (OUTPUT_GAIN * SPREAD)
        put(layer, weights)

    def write_sink(self, weights: dict[str, Matrix], content: NDArray[np.int64]) -> None:
        """Give every query a small similarity with the sink, so that a head without a match does not copy at random."""
        there = self.random.normal(size=len(content))
        there /= np.linalg.norm(there)
        length = np.sqrt((weights["k_proj"][content] ** 2).sum()) * SPREAD / FIXED
        weights["q_proj"][content, CONSTANT] = there * (length * SINK_COSINE / np.sqrt(1.0 - SINK_COSINE**2))
        weights["k_proj"][content, SINK] = there * (4.0 * length)

    def rows(self, head: int) -> slice:
        return slice(head * self.size, (head + 1) * self.size)

    def orthonormal(self, rows: int, columns: int) -> Matrix:
        matrix: Matrix = np.linalg.qr(self.random.normal(size=(columns, columns)))[0][:rows]
        return matrix


def weights_of(layer: object) -> dict[str, Matrix]:
    return {name: np.array(getattr(layer, name).weight, np.float64) for name in PROJECTIONS}


def put(layer: object, weights: dict[str, Matrix]) -> None:
    for name, matrix in weights.items():
        getattr(layer, name).weight = mx.array(matrix.astype(np.float32))


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
