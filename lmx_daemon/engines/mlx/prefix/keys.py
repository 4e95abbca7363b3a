"""The keys of the prefix cache's blocks: hash chains, so that a key stands for all tokens up to its block's end."""

import array
import hashlib
from collections.abc import Sequence

BLOCK = 64
"""Tokens. Larger ones share less; smaller ones cost more buffers and look-ups."""
WIDTH = 4
"""Bytes of one token in a key."""


def encode(tokens: Sequence[int]) -> bytes:
    return array.array("i", tokens).tobytes()


def root_key(fingerprint: str, namespace: str) -> bytes:
    """Stands for the model and the namespace, before any token."""
    return _digest(f"{fingerprint}\n{namespace}".encode())


def chain(parent: bytes, tokens: bytes) -> bytes:
    """The key of the block `tokens` after the block `parent`."""
    return _digest(parent + tokens)


def end_key(parent: bytes, tokens: bytes) -> bytes:
    """The key of the end `tokens`, which fill no block, after the block `parent`."""
    return _digest(parent + tokens + b"end")


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]
