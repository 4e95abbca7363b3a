"""Layout of the embedding channels. Each initial circuit uses its own channels, so that they do not interfere."""

WIDTH = 176
CONSTANT = 0
"""Channel with the same value in every token. A head needs it to attend by position."""
SINK = 1
"""Channel of the attention sink alone: the token that a head attends to if nothing matches."""
MEANING = slice(2, 82)
"""Channels of the latent semantic analysis (`meaning.py`)."""
IDENTITY = slice(82, 130)
"""Channels with random numbers that identify the token."""
PREVIOUS = (slice(130, 153), slice(153, 176))
"""Channels that are zero in an embedding. The first layer writes the identities of the two previous tokens here."""

SPREAD = 0.1
"""Standard deviation of an embedding channel before training."""
FIXED = 0.6
"""Value of the constant channels."""
