"""Layout of the embedding channels. Each initial circuit uses its own channels, so that they do not interfere."""

WIDTH = 256
CONSTANT = 0
"""Channel with the same value in every token. A head needs it to attend by position."""
SINK = 1
"""Channel of the attention sink alone: the token that a head attends to if nothing matches."""
MEANING = slice(2, 112)
"""Channels of the latent semantic analysis (`meaning.py`)."""
IDENTITY = slice(112, 176)
"""Channels with random numbers that identify the token. A head of 64 channels copies all of them."""
PREVIOUS = (slice(176, 216), slice(216, 256))
"""Channels that are zero in an embedding. The first layer writes the identities of the two previous tokens here."""

SPREAD = 0.1
"""Standard deviation of an embedding channel before training."""
FIXED = 0.6
"""Value of the constant channels."""
