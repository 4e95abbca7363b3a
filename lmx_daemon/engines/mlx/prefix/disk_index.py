"""Index of the blocks on disk, and which of them a prompt needs. Look-ups only: no access to files or threads."""

from collections.abc import Mapping, Sequence

import numpy as np

from lmx_daemon.engines.mlx.prefix.block_files import BlockFile
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK, WIDTH, chain, end_key
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache

STEP = BLOCK * WIDTH


class DiskIndex:
    """Blocks on disk by their keys."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, BlockFile] = {}
        """All files by key, ends and tails included."""
        self._ends: dict[bytes, dict[bytes, BlockFile]] = {}
        self._tails: dict[bytes, dict[bytes, BlockFile]] = {}
        """Ends and tails by the key of their parent, then by their own."""

    def enter(self, stored: BlockFile) -> None:
        """Add a block."""
        self.blocks[stored.key] = stored
        if stored.kind != "block":
            self._beside(stored).setdefault(stored.parent, {})[stored.key] = stored

    def forget(self, stored: BlockFile) -> None:
        """Remove a block. Idempotent."""
        self.blocks.pop(stored.key, None)
        others = self._beside(stored).get(stored.parent)
        if others is not None and others.pop(stored.key, None) is not None and not others:
            del self._beside(stored)[stored.parent]

    def beyond(self, prefixes: PrefixCache, namespace: str, data: bytes) -> list[BlockFile]:
        """Return the blocks that continue a prompt beyond those in memory."""
        if not self.blocks:
            return []
        path = list(prefixes.walk(namespace, data))
        keys = [prefixes.root_key(namespace), *(node.key for node in path)]
        run: list[BlockFile] = []
        for first in range(len(path) * STEP, len(data) - STEP + 1, STEP):
            keys.append(chain(keys[-1], data[first : first + STEP]))
            stored = self.blocks.get(keys[-1])
            if stored is None:
                break
            run.append(stored)
        layout, most = prefixes.layout, prefixes.max_bytes // 2
        whole = data[:-WIDTH]  # at least one token is computed
        if not (self._ends if layout is None else not layout.trimmable):
            depth = len(path) + len(run)
            tail = _longest(self._tails.get(keys[depth], {}), keys[depth], whole[depth * STEP :])
            further = tail is not None and tail.start + tail.length > prefixes.match(namespace, data).length
            return _fitting([*run, tail] if tail is not None and further else run, most)
        for depth in range(min(len(path) + len(run), len(whole) // STEP), -1, -1):
            end = _longest(self._ends.get(keys[depth], {}), keys[depth], whole[depth * STEP :])
            if end is not None:
                found = [*run[: max(depth - len(path), 0)], end]
                further = depth * BLOCK + end.length > prefixes.match(namespace, data).length
                return found if further and _fitting(found, most) == found else []
        return []

    def _beside(self, stored: BlockFile) -> dict[bytes, dict[bytes, BlockFile]]:
        return self._tails if stored.kind == "tail" else self._ends


def recent(blocks: Mapping[bytes, BlockFile], root: bytes, max_bytes: int) -> list[BlockFile]:
    """Return the blocks after `root` that were used last and fit into `max_bytes`.

    The latest comes first, but each block comes after all its ancestors.
    """
    taken: dict[bytes, BlockFile] = {}
    lost: set[bytes] = set()
    """Blocks after another root or after a missing block."""
    left = max_bytes
    for stored in sorted(blocks.values(), key=lambda stored: stored.used, reverse=True):
        path: list[BlockFile] = []
        at: BlockFile | None = stored
        while at is not None and at.key not in taken and at.key not in lost:
            path.append(at)
            at = blocks.get(at.parent) if at.parent != root else None
        if path and path[-1].parent != root and path[-1].parent not in taken:
            lost.update(block.key for block in path)
            continue
        for block in reversed(path):
            left -= block.size
            if left < 0:
                return list(taken.values())
            taken[block.key] = block
    return list(taken.values())


def _longest(among: dict[bytes, BlockFile], parent: bytes, rest: bytes) -> BlockFile | None:
    """Return the longest entry that `rest` starts with. Searches by length, since `among` may be large."""
    if not among:
        return None
    keys = (end_key(parent, rest[: length * WIDTH]) for length in range(min(BLOCK - 1, len(rest) // WIDTH), -1, -1))
    return next((among[key] for key in keys if key in among), None)


def _fitting(blocks: Sequence[BlockFile], max_bytes: int) -> list[BlockFile]:
    """Return the first blocks that together have at most `max_bytes`."""
    sizes = np.cumsum([stored.size for stored in blocks])
    return list(blocks[: int(np.searchsorted(sizes, max_bytes, "right"))])
