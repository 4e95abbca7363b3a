"""Nodes of the radix tree in which the prefix cache stores sequences, and how one is matched against a prompt."""

from dataclasses import dataclass, field
from itertools import islice

import mlx.core as mx
import numpy as np

from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK, WIDTH
from lmx_daemon.engines.mlx.prefix.cache_layout import Checkpoint

OVERHEAD = 512
"""Bytes of a node besides its tensors."""
NEAR = 64
"""Number of successors of a block, the latest first, that are compared token by token."""


@dataclass(eq=False)
class Node:
    """A block of tokens in the tree, or an `end`: fewer tokens after a block, with the checkpoint after them."""

    key: bytes
    parent: "Node | None"
    tokens: bytes
    start: int
    parts: list[mx.array]
    checkpoint: Checkpoint | None = None
    children: dict[bytes, "Node"] = field(default_factory=dict)
    ends: dict[bytes, "Node"] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.tokens) // WIDTH

    @property
    def arrays(self) -> list[mx.array]:
        return [*self.parts, *(self.checkpoint.arrays if self.checkpoint is not None else ())]

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.tokens) + sum(part.nbytes for part in self.arrays)


@dataclass(frozen=True)
class PrefixMatch:
    """The stored nodes that match a prompt: whole blocks, then `shared` tokens of the node `last`."""

    path: list[Node]
    last: Node | None
    shared: int

    @property
    def length(self) -> int:
        return len(self.path) * BLOCK + self.shared


def at_end(node: Node) -> int:
    """Return the position after a node."""
    return node.start + node.length


def nearest(at: Node | None, rest: bytes, most: int) -> tuple[Node | None, int]:
    """Return the node after `at` with the longest common prefix with `rest`, and its length of `most` at most."""
    best: tuple[Node | None, int] = None, 0
    if at is None or most <= 0:
        return best
    wanted = np.frombuffer(rest, np.int32)
    for nodes in (at.ends, at.children):
        for node in islice(reversed(nodes.values()), NEAR):
            better = (best[1] + 1) * WIDTH
            if node.tokens[:better] != rest[:better]:
                continue
            found = np.frombuffer(node.tokens, np.int32)[: len(wanted)]
            different = np.flatnonzero(found != wanted[: len(found)])
            shared = min(int(different[0]) if len(different) else len(found), most)
            if shared > best[1]:
                best = node, shared
    return best
