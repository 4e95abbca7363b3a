"""Parts of prefix cache tests: caches whose content is computed from their tokens, and a disk tier that can pause."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache

from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.disk_tier import DiskTier
from lmx_daemon.engines.mlx.prefix.nodes import Node

PATIENCE = 20.0
MARK = "model"
VALUES = 1021
"""Number of different contents of a token; half precision represents twice as many exactly."""


def contents(namespace: str, tokens: list[int]) -> list[int]:
    """Return one number for each token, which depends on all tokens before it."""
    found, last = [], len(namespace)
    for token in tokens:
        last = (last * 31 + token + 7) % VALUES
        found.append(last)
    return found


def cache_of(namespace: str, tokens: list[int], *, states: bool) -> list[Any]:
    """Return the cache that a model would hold after `tokens`."""
    numbers = np.array(contents(namespace, tokens))

    def made(heads: int, width: int, dtype: mx.Dtype) -> KVCache:
        scale = np.arange(heads * width).reshape(1, heads, 1, width) + numbers.reshape(1, 1, -1, 1)
        keys = mx.array(scale % 251 if dtype == mx.bfloat16 else scale).astype(dtype)
        return KVCache.from_state((keys, keys + 1, len(tokens)))

    if not states:
        return [made(1, 2, mx.float32), CacheList(made(2, 1, mx.float16), KVCache()), made(1, 1, mx.bfloat16)]
    state = ArraysCache(2)
    state[0] = mx.array(numbers[-1:], mx.float32)
    return [made(1, 2, mx.float32), state, made(1, 1, mx.bfloat16)]


def numbers_of(cache: list[Any], length: int) -> list[Any]:
    """Return all numbers in a cache of `length` tokens."""
    found: list[Any] = []
    for part in cache:
        if isinstance(part, CacheList):
            found += numbers_of(part.caches, length)
        elif isinstance(part, ArraysCache):
            found += [array.tolist() if array is not None else None for array in part.cache]
        elif part.keys is not None:
            assert part.offset == length
            found += [str(part.keys.dtype), *(each.astype(mx.float32).tolist() for each in part.keys_and_values())]
    return found


class PausedDisk(DiskTier):
    """A disk tier whose thread can be paused before each piece of work."""

    def __init__(self, root: Path, max_bytes: int, say: Any) -> None:
        self.may: float = math.inf
        self.held = False
        super().__init__(root, MARK, max_bytes, say, lambda: None, reserve=0)

    @property
    def answers(self) -> bool:
        return True  # a pause is as long as the test

    def let(self, count: float) -> None:
        with self._changed:
            self.may = count
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        return not (self._busy or self._reads or self._touches or self._writes or self._plan or self._ahead)

    def settle(self) -> None:
        """Wait until the thread is paused or idle."""
        with self._changed:
            quiet = self._changed.wait_for(lambda: self.idle or (self.held and self.may <= 0), PATIENCE)
        assert quiet, "the disk's thread is gone"

    def kill(self) -> None:
        """End the thread without the queued work."""
        with self._changed:
            self._writes.clear()
            self._touches.clear()
        self.let(math.inf)
        self.close(PATIENCE)

    def _before(self) -> None:
        with self._changed:
            self.held = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.may > 0)
            self.may -= 1
            self.held = False

    def _read(self, fetch: DiskRead) -> None:
        self._before()
        super()._read(fetch)

    def _touch(self, blocks: Any) -> None:
        self._before()
        super()._touch(blocks)

    def _write(self, write: Any) -> None:
        self._before()
        super()._write(write)

    def _read_one_ahead(self) -> None:
        self._before()
        super()._read_one_ahead()


def below(node: Node) -> Iterator[Node]:
    for beside, ends in ((node.children, False), (node.ends, True)):
        for tokens, child in beside.items():
            assert child.tokens == tokens and child.parent is node and (child.length < BLOCK) == ends
            yield child
            yield from below(child)


def spoil(paths: list[Path], what: str, how: int) -> None:
    """Delete, truncate or change files at `how` percent of their length."""
    for path in paths:
        data = path.read_bytes()
        place = len(data) * how // 100
        if what == "delete":
            path.unlink()
        elif what == "tear":
            path.write_bytes(data[:place])
        else:
            path.write_bytes(data[:place] + bytes(byte ^ 1 for byte in data[place : place + 1]) + data[place + 1 :])
