"""Draws a copying circuit into fresh weights, so that training starts with it instead of finding it.

Small models learn to copy unseen words late or never. The circuit is the one known as an induction head (Olsson et
al. 2022, arXiv:2209.11895): one layer has two heads that look one and two tokens back; in the next, one head looks
for the place where the same two tokens stood before, and says what followed.
"""

import mlx.core as mx
import numpy as np
from mlx_lm.models.qwen3 import Model
from numpy.typing import NDArray

from training.channels import BEFORE, CONSTANT, FIXED, IDENTITY, NOWHERE, SPREAD

Matrix = NDArray[np.float64]

FIRST = 0
"""The layer that looks back; the next one matches."""
SHARP = 2.5
"""Query and key norms: high enough for a head to look at one place."""
FAST = 0.02
"""Rotary frequencies above this tell places apart; those below carry content."""
SECOND = 0.7
"""Weight of the match two tokens back."""
REST = 0.5
"""Cosine of every query with the key of `nowhere`: above a chance likeness, below a match."""
LOUD = 4.0
"""What followed must outshout the word that is there, of which all channels speak and not only these."""


class Circuit:
    """`nowhere`: the token that is looked at where nothing matches; it opens every prompt."""

    def __init__(self, model: Model, theta: float, size: int, nowhere: int, seed: int) -> None:
        self.model = model
        self.size = size
        self.half = size // 2
        self.frequencies = theta ** (-np.arange(self.half) / self.half)
        self.nowhere = nowhere
        self.random = np.random.default_rng(seed)
        self.said = self.orthonormal(size, IDENTITY.stop - IDENTITY.start)

    def draw(self) -> None:
        embeddings = np.array(self.model.model.embed_tokens.weight)
        embeddings[self.nowhere] = 0.0
        embeddings[self.nowhere, NOWHERE] = FIXED
        embeddings[:, CONSTANT] = FIXED
        self.model.model.embed_tokens.weight = mx.array(embeddings)
        for layer in self.model.model.layers[FIRST : FIRST + 2]:
            for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
                norm.weight = norm.weight * SHARP
        glance = self.orthonormal(BEFORE[0].stop - BEFORE[0].start, IDENTITY.stop - IDENTITY.start)
        self.look_back(glance)
        self.match(glance)

    def look_back(self, glance: Matrix) -> None:
        """Head n looks n+1 tokens back and writes that token's `glance` at its identity."""
        layer = self.model.model.layers[FIRST].self_attn
        weights = weights_of(layer)
        fast = np.flatnonzero(self.frequencies > FAST)
        for head in (0, 1):
            rows = self.rows(head)
            for name in ("q_proj", "k_proj", "v_proj"):
                weights[name][rows] = 0.0
            weights["o_proj"][:, rows] = 0.0
            turn = (head + 1) * self.frequencies[fast]
            weights["q_proj"][rows.start + fast, CONSTANT] = 3.0
            weights["k_proj"][rows.start + fast, CONSTANT] = 3.0 * np.cos(turn)
            weights["k_proj"][rows.start + self.half + fast, CONSTANT] = 3.0 * np.sin(turn)
            seen = slice(rows.start, rows.start + len(glance))
            weights["v_proj"][seen, IDENTITY] = glance
            weights["o_proj"][BEFORE[head], seen] = np.eye(len(glance)) * SPREAD
        put(layer, weights)

    def match(self, glance: Matrix) -> None:
        """Next layer: the query is this token and the one before, the key the two before a place."""
        layer = self.model.model.layers[FIRST + 1].self_attn
        weights = weights_of(layer)
        slow = np.flatnonzero(self.frequencies <= FAST)
        content = np.concatenate([slow, slow + self.half])
        first, second = (self.random.normal(size=(len(content), len(glance))) for _ in range(2))
        rows = self.rows(0)
        for name in ("q_proj", "k_proj", "v_proj"):
            weights[name][rows] = 0.0
        weights["o_proj"][:, rows] = 0.0
        weights["q_proj"][content, IDENTITY] = first @ glance
        weights["q_proj"][content, BEFORE[0]] = SECOND * second
        weights["k_proj"][content, BEFORE[0]] = first
        weights["k_proj"][content, BEFORE[1]] = SECOND * second
        self.rest(weights, content)
        weights["v_proj"][rows, IDENTITY] = self.said
        put(layer, weights)

    def speak(self) -> None:
        """Lets the circuit say what it finds. Before that it is silent: copying is noise to who only reads."""
        layer = self.model.model.layers[FIRST + 1].self_attn
        weights = weights_of(layer)
        weights["o_proj"][IDENTITY, self.rows(0)] = self.said.T * (LOUD * SPREAD)
        put(layer, weights)

    def rest(self, weights: dict[str, Matrix], content: NDArray[np.int64]) -> None:
        """Every query likes the token that says nothing a little: a head with no match would copy at random."""
        there = self.random.normal(size=len(content))
        there /= np.linalg.norm(there)
        length = np.sqrt((weights["k_proj"][content] ** 2).sum()) * SPREAD / FIXED
        weights["q_proj"][content, CONSTANT] = there * (length * REST / np.sqrt(1.0 - REST**2))
        weights["k_proj"][content, NOWHERE] = there * (4.0 * length)

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
