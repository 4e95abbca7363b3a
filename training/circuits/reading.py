"""Initialisation of three heads in the third layer that average the meaning channels of all previous tokens.

With `meaning.py` this is a bag-of-words classifier, which generalises to held-out questions. Training refines it.
"""

import numpy as np
from mlx_lm.models.qwen3 import Model

from training.circuits.channels import CONSTANT, MEANING, SPREAD
from training.circuits.copying import put, weights_of

LAYER = 2
GAIN = 10.0
"""Gain of the output, so that a few distinctive words among many others still have an effect."""


def write_reading_heads(model: Model, size: int) -> None:
    """Initialise the heads. `size` is the number of channels of a head and the most meaning channels it can carry."""
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
        # Queries and keys use different channels with low rotary frequencies, so that every score starts at 0.
        weights["q_proj"][rows.start + size // 2 - 1, CONSTANT] = 1.0
        weights["k_proj"][rows.start + size // 2 - 2, CONSTANT] = 1.0
        weights["v_proj"][rows, channels] = np.eye(size, carried)
        weights["o_proj"][channels, rows] = np.eye(carried, size) * (GAIN * SPREAD)
    put(layer, weights)
