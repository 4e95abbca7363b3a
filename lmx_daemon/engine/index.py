"""Which blocks are on disk, and which of them a prompt wants: look-ups only, which know neither files nor threads."""

from collections.abc import Sequence

import numpy as np

from lmx_daemon.engine.cache import BLOCK, WIDTH, Node, PrefixCache, chain, end_key
from lmx_daemon.engine.files import Stored

STEP = BLOCK * WIDTH


class Index:
    def __init__(self) -> None:
        self.blocks: dict[bytes, Stored] = {}
        """By key, ends and tails too."""
        self._ends: dict[bytes, dict[bytes, Stored]] = {}
        self._tails: dict[bytes, dict[bytes, Stored]] = {}
        """Both by parent."""

    def enter(self, stored: Stored) -> None:
        self.blocks[stored.key] = stored
        if stored.kind != "block":
            self._beside(stored).setdefault(stored.parent, {})[stored.key] = stored

    def forget(self, stored: Stored) -> None:
        """Idempotent."""
        self.blocks.pop(stored.key, None)
        others = self._beside(stored).get(stored.parent)
        if others is not None and others.pop(stored.key, None) is not None and not others:
            del self._beside(stored)[stored.parent]

    def beyond(self, prefixes: PrefixCache, namespace: str, data: bytes) -> list[Stored]:
        """The blocks that take a prompt further than those in memory do."""
        if not self.blocks:
            return []
        path = list(prefixes.walk(namespace, data))
        keys = [prefixes.root_key(namespace), *(node.key for node in path)]
        run: list[Stored] = []
        for first in range(len(path) * STEP, len(data) - STEP + 1, STEP):
            keys.append(chain(keys[-1], data[first : first + STEP]))
            stored = self.blocks.get(keys[-1])
            if stored is None:
                break
            run.append(stored)
        layout, most = prefixes.layout, prefixes.max_bytes // 2
        whole = data[:-WIDTH]  # one token at least is computed
        if not (self._ends if layout is None else not layout.trimmable):
            depth = len(path) + len(run)
            tail = _longest(self._tails.get(keys[depth], {}), whole[depth * STEP :])
            further = tail is not None and tail.start + tail.length > prefixes.place(namespace, data).length
            return _fitting([*run, tail] if tail is not None and further else run, most)
        for depth in range(min(len(path) + len(run), len(whole) // STEP), -1, -1):
            end = _longest(self._ends.get(keys[depth], {}), whole[depth * STEP :])
            if end is not None:
                found = [*run[: max(depth - len(path), 0)], end]
                further = depth * BLOCK + end.length > prefixes.place(namespace, data).length
                return found if further and _fitting(found, most) == found else []
        return []

    def covered(self, node: Node) -> list[Stored]:
        """The tails that `node` begins with: nobody needs them any more."""
        if node.parent is None or node.state is not None:
            return []
        tails = self._tails.get(node.parent.key, {}).values()
        return [tail for tail in tails if tail.length < node.length and _begins(node.tokens, tail)]

    def _beside(self, stored: Stored) -> dict[bytes, dict[bytes, Stored]]:
        return self._tails if stored.kind == "tail" else self._ends


def _longest(among: dict[bytes, Stored], rest: bytes) -> Stored | None:
    """The one with most tokens that `rest` begins with."""
    found = [stored for stored in among.values() if _begins(rest, stored)]
    return max(found, key=lambda stored: stored.length, default=None)


def _begins(tokens: bytes, stored: Stored) -> bool:
    size = stored.length * WIDTH
    return size <= len(tokens) and stored.key == end_key(stored.parent, tokens[:size])


def _fitting(blocks: Sequence[Stored], max_bytes: int) -> list[Stored]:
    """As many of the first ones as are no larger together."""
    sizes = np.cumsum([stored.size for stored in blocks])
    return list(blocks[: int(np.searchsorted(sizes, max_bytes, "right"))])
