"""The disk tier of the prefix cache: blocks on disk, which survive a restart. One thread reads and writes them.

The engine thread only searches the index and passes evaluated arrays; no step waits for a file. Blocks that do not fit
into the write queue are not written.
"""

import time
from collections.abc import Sequence

from lmx_daemon.engines.mlx.prefix.block_codec import block_write
from lmx_daemon.engines.mlx.prefix.block_keys import encode
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.cache_layout import CacheLayout
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.disk_thread import ANSWER_SECONDS, DiskThread
from lmx_daemon.engines.mlx.prefix.nodes import Node

QUEUE_BYTES = 256 * 1024 * 1024
"""Bound on the bytes that wait to be written; their arrays stay in memory until then."""
TOUCH_SECONDS = 60.0
"""Interval at which the use of one sequence is noted on disk."""
SILENT = "does not answer; prompts are computed without it"
LEAST_TAIL = 8
"""Number of tokens below which computing is faster than reading."""


class DiskTier(DiskThread):
    """The engine thread's side of the disk thread."""

    def offer(self, node: Node, layout: CacheLayout) -> None:
        """Queue a node to be written. A node that is on disk already, or too short, costs a look-up."""
        if (
            node.key in self._index.blocks
            or (node.checkpoint is None and node.length < LEAST_TAIL)
            or node.parent is None
        ):
            return
        with self._changed:
            if self._queued + node.size > QUEUE_BYTES or self._closing:
                self.dropped += 1
                return
            write = block_write(node, layout, self._fingerprint)
            self._writes.append(write)
            self._queued += write.stored.size
            self._index.enter(write.stored)
            self._changed.notify_all()

    def used(self, nodes: Sequence[Node]) -> None:
        """Mark blocks as used now, at most once a minute for each sequence."""
        now = time.monotonic()
        if not nodes or now - self._touched.get(nodes[-1].key, -TOUCH_SECONDS) < TOUCH_SECONDS:
            return
        self._touched = {key: at for key, at in self._touched.items() if now - at < TOUCH_SECONDS}
        self._touched[nodes[-1].key] = now
        with self._changed:
            if self._closing:
                return
            self._touches.append([stored for node in nodes if (stored := self._index.blocks.get(node.key)) is not None])
            self._changed.notify_all()

    @property
    def silent(self) -> bool:
        """Return whether the disk does not answer: the engine goes on without it. Each change goes to the log."""
        if self._silent == self.answers:
            self._silent = not self._silent
            self._warn(f"the disk of the prefix cache {SILENT if self._silent else 'answers again'} ({self._root})")
        return self._silent

    def fetch(self, prefixes: PrefixCache, namespace: str, tokens: Sequence[int]) -> DiskRead | None:
        """Start reading the blocks of `tokens` that memory lacks, or return the read that does so already.

        Return None if the disk has no such blocks, or does not answer.
        """
        if self.silent:
            return None
        data = encode(tokens)
        with self._changed:
            wanted = self._index.beyond(prefixes, namespace, data)
            if not wanted or self._closing:
                return None
            for fetch in self._pending:
                if fetch.wanted[0].key == wanted[0].key:
                    return fetch
            fetch = DiskRead(namespace, data, wanted)
            self._pending.append(fetch)
            self._reads.append(fetch)
            self._changed.notify_all()
            return fetch

    def read_ahead(self, root: bytes, max_bytes: int) -> None:
        """Start reading the blocks after `root` that were used last, so that the next turns find them in memory."""
        with self._changed:
            self._plan = None if self._ending else (root, max_bytes)
            self._changed.notify_all()

    def collect(self, prefixes: PrefixCache) -> None:
        """Insert into memory the blocks that were read, ahead or for requests."""
        done = [fetch for fetch in self._pending if fetch.done]
        self._pending = [
            fetch for fetch in self._pending if fetch not in done
        ]  # another read may have ended since the line above
        for fetch in done:
            self._restored.update(node.key for node in fetch.put(prefixes))
            prefixes.evict()
        if not self._read_ahead:
            return
        with self._changed:
            come, self._read_ahead = self._read_ahead, []
        new = [loaded for loaded in come if prefixes.node("", loaded.stored.key) is None]
        nodes = [node for loaded in new if (node := loaded.put(prefixes, "")) is not None]
        self._restored.update(node.key for node in nodes)
        prefixes.rank(nodes)
        prefixes.evict()

    def distrust(self) -> None:
        """Drop the blocks that were restored from disk: a step failed, and they may be the cause."""
        with self._changed:
            for stored in [self._index.blocks[key] for key in self._restored if key in self._index.blocks]:
                self._index.forget(stored)
                self._writes.append(self._folder / stored.name)
            self._changed.notify_all()
        self._restored.clear()

    def close(self, seconds: float) -> None:
        """Finish the queued work within `seconds`, then stop."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._ending, self._plan = True, None
            self._ahead.clear()
            while (self._writes or self._touches or self._busy) and self.answers:
                if (left := deadline - time.monotonic()) <= 0:
                    break
                self._changed.wait(min(left, ANSWER_SECONDS))
            self._closing = True
            self._changed.notify_all()
