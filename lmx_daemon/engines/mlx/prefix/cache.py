"""The prefix cache: keys and values of earlier sequences in blocks, for prompts that begin alike. Bounded by bytes.

A tree for each namespace: a block of 64 tokens has the blocks that followed it as children, so that sequences share
what they have in common. Blocks are never changed once stored. The disk tier below learns of them through
`NodeObserver`.
Owned by the engine thread.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import mlx.core as mx
import numpy as np

from lmx_daemon.contract.generation import MEMORY_ONLY
from lmx_daemon.engines.mlx.prefix.cache_layout import (
    CacheLayout,
    Checkpoint,
    cut,
    join,
    layout_of,
    state_of,
    tensors_of,
)
from lmx_daemon.engines.mlx.prefix.keys import BLOCK, WIDTH, chain, encode, end_key, root_key

ROOM = 256
"""Tokens that a found cache holds for an answer before it is copied for more, as mlx-lm's caches grow."""
MIN_TOKENS = 8
"""A shorter common beginning is not worth the copy."""
OVERHEAD = 512
"""Bytes that a node costs beside its tensors."""
NEAR = 64
"""So many of a block's successors, the latest first, are compared token by token."""


@dataclass(eq=False)
class Node:
    """A block of tokens in the tree, or an `end`: fewer tokens that follow a block, with the states after them."""

    key: bytes
    parent: "Node | None"
    tokens: bytes
    start: int
    parts: list[mx.array]
    state: Checkpoint | None = None
    children: dict[bytes, "Node"] = field(default_factory=dict)
    ends: dict[bytes, "Node"] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return len(self.tokens) // WIDTH

    @property
    def arrays(self) -> list[mx.array]:
        return [*self.parts, *(self.state.arrays if self.state is not None else ())]

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.tokens) + sum(part.nbytes for part in self.arrays)


@dataclass(frozen=True)
class PrefixHit:
    cache: list[Any]
    length: int
    """Tokens of the prompt that `cache` holds."""


@dataclass(frozen=True)
class PrefixMatch:
    """How far the stored blocks follow a prompt: whole blocks, then `shared` tokens of one more node."""

    path: list[Node]
    last: Node | None
    shared: int

    @property
    def length(self) -> int:
        return len(self.path) * BLOCK + self.shared


class NodeObserver(Protocol):
    """What is told of every stored node, so that it can be kept elsewhere too."""

    def offer(self, node: Node, layout: CacheLayout) -> None: ...

    def used(self, nodes: Sequence[Node]) -> None: ...


class PrefixCache:
    """Least recently used goes first, and a block never before those that follow it. Namespaces share nothing."""

    def __init__(self, max_bytes: int, fingerprint: str = "", tier: NodeObserver | None = None) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self.layout: CacheLayout | None = None
        """Known from the first sequence on; a model has only one."""
        self._fingerprint = fingerprint
        self._tier = tier
        self._roots: dict[str, Node] = {}
        self._order: OrderedDict[bytes, Node] = OrderedDict()
        self._kept: list[Node] = []
        """Since the last `settle`; their arrays may still be under way."""
        self._older: list[Node] = []
        """Before it; the tier has not been told of them."""

    def find(self, namespace: str, tokens: Sequence[int]) -> PrefixHit | None:
        """The longest stored beginning of `tokens`, one token short of all of them at most: one must be computed."""
        place = self.place(namespace, encode(tokens))
        if self.layout is None or place.length < MIN_TOKENS:
            return None
        nodes = [*place.path, place.last] if place.last is not None else place.path
        self.touch(nodes)
        held = sum(node.length for node in nodes)
        state = place.last.state if place.last is not None else None
        parts, room = [node.parts for node in nodes], len(tokens) - place.length + ROOM
        cache = join(self.layout, parts, place.length, state, surplus=held - place.length, room=room)
        return PrefixHit(cache, place.length)

    def place(self, namespace: str, data: bytes) -> PrefixMatch:
        """Where the stored blocks leave the prompt `data` (encoded); what `find` would give."""
        nowhere = PrefixMatch([], None, 0)
        if self.layout is None:
            return nowhere
        path = list(self.walk(namespace, data))
        whole = len(data) // WIDTH - 1
        if self.layout.trimmable:
            if path and len(path) * BLOCK > whole:  # all of it is stored: the last token is computed again
                return PrefixMatch(path[:-1], path[-1], BLOCK - 1)
            at = path[-1] if path else self._roots.get(namespace)
            start = len(path) * BLOCK * WIDTH
            last, shared = _nearest(at, data[start : start + BLOCK * WIDTH], whole - len(path) * BLOCK)
            return PrefixMatch(path, last, shared)
        for depth in range(min(len(path), whole // BLOCK), -1, -1):
            at = path[depth - 1] if depth else self._roots.get(namespace)
            rest = data[depth * BLOCK * WIDTH : whole * WIDTH]
            ends = [] if at is None else [end for tokens, end in at.ends.items() if rest.startswith(tokens)]
            if ends:
                end = max(ends, key=lambda end: end.length)
                return PrefixMatch(path[:depth], end, end.length)
        return nowhere

    def walk(self, namespace: str, data: bytes) -> Iterator[Node]:
        """The stored whole blocks that `data` begins with."""
        node = self._roots.get(namespace)
        step = BLOCK * WIDTH
        for start in range(0, len(data) - step + 1, step):
            node = node.children.get(data[start : start + step]) if node is not None else None
            if node is None:
                return
            yield node

    def keep(self, namespace: str, tokens: Sequence[int], cache: Sequence[Any]) -> None:
        """Stores `cache`, one sequence's, which holds exactly `tokens`. Blocks that are there already cost nothing."""
        layout = layout_of(cache, len(tokens))
        if layout is None or len(tokens) < MIN_TOKENS or layout != (self.layout or layout):
            return
        self.layout = layout
        data, tensors = encode(tokens), tensors_of(cache)
        limit = self._affordable(tensors, len(tokens))
        if not limit:
            return
        path = list(self.walk(namespace, data[: limit * WIDTH]))
        at = path[-1] if path else self.root(namespace)
        blocks = limit // BLOCK
        made = cut(tensors, layout, len(path) * BLOCK, blocks * BLOCK, BLOCK)
        for parts in made:
            at = self.add(at, data[at_end(at) * WIDTH : (at_end(at) + BLOCK) * WIDTH], parts)
            path.append(at)
        rest = data[blocks * BLOCK * WIDTH : limit * WIDTH]
        if limit == len(tokens) and (not layout.trimmable or rest):
            (parts,) = cut(tensors, layout, blocks * BLOCK, limit, BLOCK) or ([],)
            path.append(self.add_end(at, rest, parts, None if layout.trimmable else state_of(cache)))
        if self._tier is not None and not namespace.startswith(MEMORY_ONLY):
            self._kept += path
        self.touch(path)
        self.evict()

    def settle(self, *, everything: bool = False) -> None:
        """Tells the tier of what is computed by now: that which was stored before the call before this one, so that
        no step waits; or `everything`."""
        ready, self._older, self._kept = self._older, self._kept, []
        if everything:
            ready, self._older = [*ready, *self._older], []
        for node in ready:
            assert self._tier is not None and self.layout is not None
            mx.eval(node.arrays)
            self._tier.offer(node, self.layout)

    def root(self, namespace: str) -> Node:
        """The beginning of everything in `namespace`; its key stands for the model and the namespace."""
        root = self._roots.get(namespace)
        if root is None:
            root = self._roots[namespace] = Node(self.root_key(namespace), None, b"", 0, [])
        return root

    def root_key(self, namespace: str) -> bytes:
        return root_key(self._fingerprint, namespace)

    def add(self, parent: Node, tokens: bytes, parts: list[mx.array]) -> Node:
        """A whole block after `parent`. The ends it covers are dropped where it can stand for them."""
        node = Node(chain(parent.key, tokens), parent, tokens, at_end(parent), parts)
        parent.children[tokens] = node
        self._put(node)
        self._drop_covered(parent, tokens)
        return node

    def add_end(self, parent: Node, tokens: bytes, parts: list[mx.array], state: Checkpoint | None) -> Node:
        """`tokens` that fill no block after `parent`, with the states at their end where the model has such."""
        known = parent.ends.get(tokens)
        if known is not None:
            return known
        node = Node(end_key(parent.key, tokens), parent, tokens, at_end(parent), parts, state)
        parent.ends[tokens] = node
        self._put(node)
        if state is None:
            self._drop_covered(parent, tokens)
        return node

    def touch(self, path: Sequence[Node]) -> None:
        """From the last to the first, so that what comes first in a sequence is evicted last."""
        for node in reversed(path):
            self._order.move_to_end(node.key)
        if self._tier is not None:
            self._tier.used(path)

    def rank(self, nodes: Sequence[Node]) -> None:
        """As `touch`, for nodes of several sequences that nobody used: each goes before all that it follows. Some may
        be gone: a tail that one after it begins with."""
        for node in reversed(nodes):
            at: Node | None = node if not node.children and not node.ends else None
            while at is not None and self._order.get(at.key) is at:
                self._order.move_to_end(at.key)
                at = at.parent

    def node(self, namespace: str, key: bytes) -> Node | None:
        """The block with this key, or the root of `namespace`."""
        return self.root(namespace) if key == self.root_key(namespace) else self._order.get(key)

    def resize(self, max_bytes: int) -> None:
        """From now on it may have so many bytes."""
        self.max_bytes = max_bytes
        self.evict()

    def clear(self) -> None:
        self._roots.clear()
        self._order.clear()
        self._kept, self._older = [], []
        self.size = 0

    def evict(self) -> None:
        while self.size > self.max_bytes:
            self._drop(next(iter(self._order.values())))

    def _affordable(self, tensors: Sequence[mx.array], length: int) -> int:
        """How many of `length` tokens fit into the bound: of a sequence that is too long, its beginning is kept."""
        each = sum(tensor.nbytes // tensor.shape[2] for tensor in tensors) + OVERHEAD // BLOCK + WIDTH
        fits = self.max_bytes // each
        return length if fits >= length + BLOCK else min(fits, length) // BLOCK * BLOCK

    def _put(self, node: Node) -> None:
        self._order[node.key] = node
        self.size += node.size

    def _drop_covered(self, parent: Node, tokens: bytes) -> None:
        """Once `tokens` are stored after `parent`: a root that nothing follows would be dropped with the last end."""
        for end in [end for end in parent.ends.values() if end.state is None and tokens.startswith(end.tokens)]:
            if end.tokens != tokens:
                self._drop(end)

    def _drop(self, node: Node) -> None:
        assert node.parent is not None and not node.children and not node.ends
        del self._order[node.key]
        self.size -= node.size
        siblings = node.parent.ends if node.parent.ends.get(node.tokens) is node else node.parent.children
        del siblings[node.tokens]
        if node.parent.parent is None and not node.parent.children and not node.parent.ends:
            self._roots = {name: root for name, root in self._roots.items() if root is not node.parent}


def at_end(node: Node) -> int:
    """The position after a block."""
    return node.start + node.length


def _nearest(at: Node | None, rest: bytes, most: int) -> tuple[Node | None, int]:
    """Of the blocks and ends after `at`, the one that shares most with `rest`, and how many tokens: `most` at most."""
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
