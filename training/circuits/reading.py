"""Initialisation of heads in the third layer that average the meaning channels of about the last hundred tokens.

With `meaning.py` this is a bag-of-words classifier, which generalises to held-out questions. Training refines it. The
window lets a question be read after a long system prompt, beside tools and after earlier turns.
"""

import numpy as np
from mlx_lm.models.qwen3 import Model

from training.circuits.channels import CONSTANT, MEANING, SPREAD
from training.circuits.copying import put, weights_of

LAYER = 2
GAIN = 10.0
"""Gain of the output, so that a few distinctive words among many others still have an effect."""


WINDOW = (0.0035, 0.022)
"""Rotary frequencies whose sum of cosines decays from 0 to 200 tokens back, and stays flat for the first 40."""


def write_reading_heads(model: Model, theta: float, size: int) -> None:
    """Initialise the heads. `size` is the number of channels of a head and the most meaning channels it can carry."""
    layer = model.model.layers[LAYER].self_attn
    weights = weights_of(layer)
    frequencies = theta ** (-np.arange(size // 2) / (size // 2))
    near = np.flatnonzero((frequencies > WINDOW[0]) & (frequencies < WINDOW[1]))
    width = MEANING.stop - MEANING.start
    for head, start in enumerate(range(0, width, size)):
        rows = slice(head * size, (head + 1) * size)
        carried = min(size, width - start)
        channels = slice(MEANING.start + start, MEANING.start + start + carried)
        for name in ("q_proj", "k_proj", "v_proj"):
            weights[name][rows] = 0.0
        weights["o_proj"][:, rows] = 0.0
        weights["q_proj"][rows.start + near, CONSTANT] = 1.0
        weights["k_proj"][rows.start + near, CONSTANT] = 1.0
        weights["v_proj"][rows, channels] = np.eye(size, carried)
        weights["o_proj"][channels, rows] = np.eye(carried, size) * (GAIN * SPREAD)
    put(layer, weights)
