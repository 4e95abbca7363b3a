"""Draws reading into fresh weights: three heads of the third layer begin as the mean of what all words so far mean.

With `meaning.py` this makes a bag of words, from which a held-out question is understood; training refines it.
"""

import numpy as np
from mlx_lm.models.qwen3 import Model

from training.channels import CONSTANT, MEANING, SPREAD
from training.copying import put, weights_of

LAYER = 2
GAIN = 10.0
"""Of what is written, so that the mean of a few telling words among many others is still heard."""


def draw_reading(model: Model, size: int) -> None:
    """`size`: channels of a head, which carries at most as many of the meaning."""
    layer = model.model.layers[LAYER].self_attn
    weights = weights_of(layer)
    width = MEANING.stop - MEANING.start
    for head, start in enumerate(range(0, width, size)):
        rows = slice(head * size, (head + 1) * size)
        carried = min(size, width - start)
        channels = slice(MEANING.start + start, MEANING.start + start + carried)
        for name in ("q_proj", "k_proj", "v_proj"):
            weights[name][rows] = 0.0
        weights["o_proj"][:, rows] = 0.0
        # Two channels that hardly turn with the place, one for queries and one for keys: every score begins as 0.
        weights["q_proj"][rows.start + size // 2 - 1, CONSTANT] = 1.0
        weights["k_proj"][rows.start + size // 2 - 2, CONSTANT] = 1.0
        weights["v_proj"][rows, channels] = np.eye(size, carried)
        weights["o_proj"][channels, rows] = np.eye(carried, size) * (GAIN * SPREAD)
    put(layer, weights)
