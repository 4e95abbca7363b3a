"""What each channel of a fresh embedding is for, so that what is drawn in for one purpose does not disturb another."""

WIDTH = 176
CONSTANT = 0
"""The same in every token: what a head needs to look at a place."""
NOWHERE = 1
"""Only in the token that is looked at where nothing matches; that token has nothing else."""
MEANING = slice(2, 82)
IDENTITY = slice(82, 130)
"""Random numbers that tell a token from all others."""
BEFORE = (slice(130, 153), slice(153, 176))
"""Empty in an embedding: the identities of the tokens one and two places back are written here."""

SPREAD = 0.1
"""Standard deviation of a channel of a fresh embedding."""
FIXED = 0.6
"""Value of the constant channels."""
