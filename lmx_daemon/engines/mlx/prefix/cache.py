"""The prefix cache in memory: keys and values of earlier sequences, for prompts with the same prefix. Bounded by bytes.

Each namespace has a radix tree: the children of a block of 64 tokens are the blocks that followed it, so that sequences
share their common prefix. Stored blocks never change. `NodeObserver` connects the disk tier. Engine thread only.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx

from lmx_daemon.contract.generation.requests import MEMORY_ONLY
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK, WIDTH, chain, encode, end_key, root_key
from lmx_daemon.engines.mlx.prefix.cache_layout import (
    CacheLayout,
    Checkpoint,
    checkpoint_of,
    cut,
    join,
    layout_of,
    tensors_of,
)
from lmx_daemon.engines.mlx.prefix.nodes import OVERHEAD, Node, PrefixMatch, at_end, nearest

ROOM = 256
"""Tokens of an answer that a found cache has room for before it must be copied, as mlx-lm's caches grow."""
MIN_TOKENS = 8
"""Length below which a common prefix is not worth the copy."""


@dataclass(frozen=True)
class PrefixHit:
    """A prefix that was found."""

    cache: list[Any]
    length: int
    """Number of tokens of the prompt that `cache` holds."""


class NodeObserver(Protocol):
    """Receiver of all stored nodes: the disk tier."""

    def offer(self, node: Node, layout: CacheLayout) -> None: ...

    def used(self, nodes: Sequence[Node]) -> None: ...


class PrefixCache:
    """Blocks by namespace. The least recently used are evicted first, and a block only after all that follow it."""

    def __init__(self, max_bytes: int, fingerprint: str = "", observer: NodeObserver | None = None) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self.layout: CacheLayout | None = None
        """Layout of the model's caches; None before the first sequence is stored."""
        self._fingerprint = fingerprint
        self._observer = observer
        self._roots: dict[str, Node] = {}
        self._order: OrderedDict[bytes, Node] = OrderedDict()
        self._new: list[Node] = []
        """Nodes stored since the last `publish`; their arrays may still be computing."""
        self._settled: list[Node] = []
        """Nodes stored before it, which the observer has not received."""

    def find(self, namespace: str, tokens: Sequence[int]) -> PrefixHit | None:
        """Return the longest stored prefix of `tokens`, at least one token short of all: one must be computed."""
        match = self.match(namespace, encode(tokens))
        if self.layout is None or match.length < MIN_TOKENS:
            return None
        nodes = [*match.path, match.last] if match.last is not None else match.path
        self.touch(nodes)
        held = sum(node.length for node in nodes)
        checkpoint = match.last.checkpoint if match.last is not None else None
        parts, room = [node.parts for node in nodes], len(tokens) - match.length + ROOM
        cache = join(self.layout, parts, match.length, checkpoint, surplus=held - match.length, room=room)
        return PrefixHit(cache, match.length)

    def match(self, namespace: str, data: bytes) -> PrefixMatch:
        """Return the stored nodes that match the encoded prompt `data`; `find` would use them."""
        nowhere = PrefixMatch([], None, 0)
        if self.layout is None:
            return nowhere
        path = list(self.walk(namespace, data))
        whole = len(data) // WIDTH - 1
        if self.layout.trimmable:
            if path and len(path) * BLOCK > whole:  # the whole prompt is stored: its last token is computed again
                return PrefixMatch(path[:-1], path[-1], BLOCK - 1)
            at = path[-1] if path else self._roots.get(namespace)
            start = len(path) * BLOCK * WIDTH
            last, shared = nearest(at, data[start : start + BLOCK * WIDTH], whole - len(path) * BLOCK)
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
        """Yield the stored whole blocks at the beginning of `data`."""
        node = self._roots.get(namespace)
        step = BLOCK * WIDTH
        for start in range(0, len(data) - step + 1, step):
            node = node.children.get(data[start : start + step]) if node is not None else None
            if node is None:
                return
            yield node

    def store(self, namespace: str, tokens: Sequence[int], cache: Sequence[Any]) -> None:
        """Store the `cache` of one sequence, which holds exactly `tokens`. Known blocks cost nothing."""
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
            path.append(self.add_end(at, rest, parts, None if layout.trimmable else checkpoint_of(cache)))
        if self._observer is not None and not namespace.startswith(MEMORY_ONLY):
            self._new += path
        self.touch(path)
        self.evict()

    def publish(self, *, everything: bool = False) -> None:
        """Pass computed nodes to the observer: those stored before the previous call, so that no step waits for them.

        With `everything`, also wait for and pass the others.
        """
        ready, self._settled, self._new = self._settled, self._new, []
        if everything:
            ready, self._settled = [*ready, *self._settled], []
        for node in ready:
            assert self._observer is not None and self.layout is not None
            mx.eval(node.arrays)
            self._observer.offer(node, self.layout)

    def root(self, namespace: str) -> Node:
        """Return the root of a namespace's tree; its key identifies the model and the namespace."""
        root = self._roots.get(namespace)
        if root is None:
            root = self._roots[namespace] = Node(self.root_key(namespace), None, b"", 0, [])
        return root

    def root_key(self, namespace: str) -> bytes:
        """Return the key of a namespace's root."""
        return root_key(self._fingerprint, namespace)

    def add(self, parent: Node, tokens: bytes, parts: list[mx.array]) -> Node:
        """Add a whole block after `parent`, and drop the ends that it covers."""
        node = Node(chain(parent.key, tokens), parent, tokens, at_end(parent), parts)
        parent.children[tokens] = node
        self._put(node)
        self._drop_covered(parent, tokens)
        return node

    def add_end(self, parent: Node, tokens: bytes, parts: list[mx.array], checkpoint: Checkpoint | None) -> Node:
        """Add `tokens` that fill no block after `parent`, with the checkpoint after them if the model has states."""
        known = parent.ends.get(tokens)
        if known is not None:
            return known
        node = Node(end_key(parent.key, tokens), parent, tokens, at_end(parent), parts, checkpoint)
        parent.ends[tokens] = node
        self._put(node)
        if checkpoint is None:
            self._drop_covered(parent, tokens)
        return node

    def touch(self, path: Sequence[Node]) -> None:
        """Mark the nodes of one sequence as used, from the last to the first, so that the first is evicted last."""
        for node in reversed(path):
            self._order.move_to_end(node.key)
        if self._observer is not None:
            self._observer.used(path)

    def rank(self, nodes: Sequence[Node]) -> None:
        """Mark nodes of several sequences like `touch`, without a use: each is evicted before its ancestors.

        Some nodes may have been dropped, such as a tail that a later node covers.
        """
        for node in reversed(nodes):
            at: Node | None = node if not node.children and not node.ends else None
            while at is not None and self._order.get(at.key) is at:
                self._order.move_to_end(at.key)
                at = at.parent

    def node(self, namespace: str, key: bytes) -> Node | None:
        """Return the block with this key, or the root of `namespace`."""
        return self.root(namespace) if key == self.root_key(namespace) else self._order.get(key)

    def resize(self, max_bytes: int) -> None:
        """Change the bound and evict what exceeds it."""
        self.max_bytes = max_bytes
        self.evict()

    def clear(self) -> None:
        """Drop all nodes."""
        self._roots.clear()
        self._order.clear()
        self._new, self._settled = [], []
        self.size = 0

    def evict(self) -> None:
        """Drop the least recently used nodes that exceed the bound."""
        while self.size > self.max_bytes:
            self._drop(next(iter(self._order.values())))

    def _affordable(self, tensors: Sequence[mx.array], length: int) -> int:
        """Return how many of `length` tokens fit into the bound; of a sequence that is too long, a prefix is stored."""
        each = sum(tensor.nbytes // tensor.shape[2] for tensor in tensors) + OVERHEAD // BLOCK + WIDTH
        fits = self.max_bytes // each
        return length if fits >= length + BLOCK else min(fits, length) // BLOCK * BLOCK

    def _put(self, node: Node) -> None:
        self._order[node.key] = node
        self.size += node.size

    def _drop_covered(self, parent: Node, tokens: bytes) -> None:
        """Drop the ends that `tokens`, stored after `parent` by now, begin with.

        Not before: a root without any node would be dropped with its last end.
        """
        for end in [end for end in parent.ends.values() if end.checkpoint is None and tokens.startswith(end.tokens)]:
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
