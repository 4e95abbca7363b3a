"""Keys of the prefix cache's blocks: hash chains, so that a key identifies all tokens up to the end of its block."""

import array
import hashlib
from collections.abc import Sequence

BLOCK = 64
"""Tokens of a block. Larger blocks share less; smaller ones need more buffers and look-ups."""
WIDTH = 4
"""Bytes of one encoded token."""


def encode(tokens: Sequence[int]) -> bytes:
    """Return the tokens as 32-bit integers."""
    return array.array("i", tokens).tobytes()


def root_key(fingerprint: str, namespace: str) -> bytes:
    """Return the key before any token: it identifies the model and the namespace."""
    return _digest(f"{fingerprint}\n{namespace}".encode())


def chain(parent: bytes, tokens: bytes) -> bytes:
    """Return the key of the block `tokens` after the block `parent`."""
    return _digest(parent + tokens)


def end_key(parent: bytes, tokens: bytes) -> bytes:
    """Return the key of `tokens` that do not fill a block after the block `parent`."""
    return _digest(parent + tokens + b"end")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]
