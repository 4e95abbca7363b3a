"""A prefix cache with a disk tier, as one worker has it from its load to its end."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.disk_tier import DiskTier

PLENTY = 1 << 30
PATIENCE = 10.0


class DiskCache:
    """Memory and disk tier of one worker's prefix cache."""

    def __init__(
        self, root: Path, mark: str = "model", max_bytes: int = PLENTY, memory: int = PLENTY, **more: Any
    ) -> None:
        self.warnings: list[str] = []
        self.woken = threading.Event()
        self.disk = DiskTier(root, mark, max_bytes, self.warnings.append, self.woken.set, **({"reserve": 0} | more))
        assert self.disk.ready.wait(PATIENCE)
        self.prefixes = PrefixCache(memory, mark, self.disk)
        self.folder = root / mark

    def store(self, tokens: list[int], cache: list[Any], namespace: str = "") -> None:
        self.prefixes.store(namespace, tokens, cache)
        self.prefixes.publish()

    def restore(self, tokens: list[int], namespace: str = "") -> int:
        """Return the number of tokens that the disk adds to those in memory."""
        fetch = self.disk.fetch(self.prefixes, namespace, tokens)
        if fetch is None:
            return 0
        assert self.woken.wait(PATIENCE) and fetch.done
        self.woken.clear()
        before = self.prefixes.match(namespace, fetch.data).length
        self.disk.collect(self.prefixes)
        return self.prefixes.match(namespace, fetch.data).length - before

    def close(self) -> None:
        self.prefixes.publish(everything=True)
        self.disk.close(PATIENCE)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.kv")) if self.folder.exists() else []


def numbers(count: int, variant: int = 0) -> tuple[list[int], list[Any]]:
    """Return tokens, and a cache whose content is computed from them."""
    tokens = [variant * 1000 + n for n in range(count)]
    keys = mx.array(tokens, mx.float32).reshape(1, 1, -1, 1)
    return tokens, [KVCache.from_state((keys, keys * 2, count))]


def content(disk_cache: DiskCache, tokens: list[int]) -> list[int]:
    hit = disk_cache.prefixes.find("", tokens)
    return [] if hit is None else hit.cache[0].keys_and_values()[0].flatten().tolist()


def read_ahead(disk_cache: DiskCache, max_bytes: int = PLENTY, namespace: str = "") -> None:
    disk_cache.disk.read_ahead(disk_cache.prefixes.root_key(namespace), max_bytes)
    assert disk_cache.woken.wait(PATIENCE)
    disk_cache.woken.clear()
    disk_cache.disk.collect(disk_cache.prefixes)


def failing_with(error: Exception) -> Callable[..., None]:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    return failing
