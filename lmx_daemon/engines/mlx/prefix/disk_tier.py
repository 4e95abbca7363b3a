"""The prefix cache's second tier: blocks on disk, which survive a restart. A thread of its own reads and writes.

The engine thread only looks into the index and hands over evaluated arrays; no step waits for a file. What does not fit
into the write queue is not written. MLX arrays are made here from bytes alone, which schedules nothing on any stream.
"""

import contextlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from lmx_daemon.engines.mlx.prefix.block_codec import BlockWrite, LoadedBlock, block_write, load_block
from lmx_daemon.engines.mlx.prefix.block_files import (
    BadBlockError,
    BlockFile,
    ReadBuffer,
    blocks_in,
    bound,
    parse_name,
    write_block,
)
from lmx_daemon.engines.mlx.prefix.cache import Node, PrefixCache
from lmx_daemon.engines.mlx.prefix.cache_layout import CacheLayout
from lmx_daemon.engines.mlx.prefix.disk_index import DiskIndex, recent
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.keys import encode
from lmx_daemon.storage.prefixes import make_private, write_label

LEFT_ALONE = "the prefix cache's disk is left alone from now on"
QUEUE_BYTES = 256 * 1024 * 1024
"""What may wait to be written; the arrays stay in memory until then."""
RESERVE_BYTES = 2 * 1024**3
"""Disk space that is left free."""
TOUCH_SECONDS = 60.0
LEAST_TAIL = 8
"""Tokens; fewer are sooner computed than read."""


class DiskTier:
    """`say` gets a line for the log, `wake` is called when a Fetch is done; both on the disk's thread."""

    def __init__(
        self,
        root: Path,
        fingerprint: str,
        max_bytes: int,
        say: Callable[[str], None],
        wake: Callable[[], None],
        reserve: int = RESERVE_BYTES,
        model: str = "",
    ) -> None:
        self._root, self._folder = root, root / fingerprint
        self._fingerprint, self._model = fingerprint, model
        self._max_bytes, self._reserve = max_bytes, reserve
        self._say, self._wake = say, wake
        self._changed = threading.Condition()
        self._index = DiskIndex()
        self._reads: deque[DiskRead] = deque()
        self._pending: list[DiskRead] = []
        """Those and what was read for requests, until the engine thread puts it into memory."""
        self._plan: tuple[bytes, int] | None = None
        self._ahead: deque[BlockFile] = deque()
        """What was used last in an earlier life, to be read while nobody waits for anything."""
        self._come: list[LoadedBlock] = []
        """Of that, what the engine thread has not taken yet."""
        self._writes: deque[BlockWrite] = deque()
        self._touches: deque[list[BlockFile]] = deque(maxlen=64)
        self._touched: dict[bytes, float] = {}
        self._restored: set[bytes] = set()
        self._queued = 0
        self._scratch = ReadBuffer()
        self._busy = True
        self._ending = self._closing = False
        """Nothing more is read ahead; nothing more is done at all."""
        self._total = self._unseen = 0
        """Bytes of all models at the last look and written since; of the latter, those since the last look."""
        self._told = False
        self.dropped = 0
        """Blocks that were not written because the queue was full."""
        self.ready = threading.Event()
        """The index has been read."""
        threading.Thread(target=self._run, name="disk", daemon=True).start()

    # ---- the engine thread ----

    def offer(self, node: Node, layout: CacheLayout) -> None:
        """Queues a node to be written; a node that is there already, or not worth it, costs a look-up."""
        if node.key in self._index.blocks or (node.state is None and node.length < LEAST_TAIL) or node.parent is None:
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
        """Marks the blocks as just used, at most once a minute for each sequence."""
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

    def fetch(self, prefixes: PrefixCache, namespace: str, tokens: Sequence[int]) -> DiskRead | None:
        """Begins to read what the disk holds of `tokens` beyond the memory, or is another's that does. None where that
        is nothing."""
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
        """Begins to read what was used last after `root`, so that a restart costs the next turns nothing."""
        with self._changed:
            self._plan = None if self._ending else (root, max_bytes)
            self._changed.notify_all()

    def take(self, prefixes: PrefixCache) -> None:
        """Puts into memory what has come of that, and for requests, which may wait for long."""
        done = [fetch for fetch in self._pending if fetch.done]
        self._pending = [fetch for fetch in self._pending if fetch not in done]  # by now there may be more
        for fetch in done:
            self._restored.update(node.key for node in fetch.put(prefixes))
            prefixes.evict()
        if not self._come:
            return
        with self._changed:
            come, self._come = self._come, []
        new = [loaded for loaded in come if prefixes.node("", loaded.stored.key) is None]
        nodes = [node for loaded in new if (node := loaded.put(prefixes, "")) is not None]
        self._restored.update(node.key for node in nodes)
        prefixes.rank(nodes)
        prefixes.evict()

    def distrust(self) -> None:
        """A step failed: what was restored from disk may be why. It is deleted."""
        with self._changed:
            for stored in [self._index.blocks[key] for key in self._restored if key in self._index.blocks]:
                self._index.forget(stored)
                with contextlib.suppress(OSError):
                    (self._folder / stored.name).unlink()
        self._restored.clear()

    def close(self, seconds: float) -> None:
        """Does what is queued, for `seconds` at most."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._ending, self._plan = True, None
            self._ahead.clear()
            while (self._writes or self._touches or self._busy) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._closing = True
            self._changed.notify_all()

    # ---- its own thread ----

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # requests wait for this thread
            self._say(f"{LEFT_ALONE}: {error!r}")
            with self._changed:
                self._ending, self._closing, self._busy = True, True, False
                for fetch in self._reads:
                    fetch.done = True
                self._plan, self._queued = None, 0
                for queue in (self._reads, self._ahead, self._touches, self._writes):
                    queue.clear()
                self._changed.notify_all()
            self._wake()

    def _serve(self) -> None:
        for stored in blocks_in(self._folder):
            with self._changed:
                self._index.enter(stored)
        self.ready.set()
        self._tidy()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not (self._reads or self._touches or self._writes):
                    if self._closing:
                        return
                    if self._plan or self._ahead:
                        break
                    self._changed.wait()
                self._busy = True
                # A read is waited for; a write is not.
                read = self._reads.popleft() if self._reads else None
                touch = self._touches.popleft() if read is None and self._touches else None
                write = self._writes.popleft() if read is None and touch is None and self._writes else None
                idle = read is None and touch is None and write is None
            if read is not None:
                self._read(read)
            if touch is not None:
                self._touch(touch)
            if write is not None:
                self._write(write)
            if idle:
                self._read_one_ahead()

    def _read(self, fetch: DiskRead) -> None:
        try:
            for stored in fetch.wanted:
                if (loaded := self._load(stored)) is None:
                    break
                fetch.loaded.append(loaded)
        finally:
            fetch.done = True
        self._wake()

    def _read_one_ahead(self) -> None:
        with self._changed:
            plan, self._plan = self._plan, None
            blocks = dict(self._index.blocks) if plan is not None else {}
        if plan is not None:  # the lock is free meanwhile: there may be a hundred thousand
            found = recent(blocks, *plan)
            with self._changed:
                self._ahead = deque(() if self._ending else found)
        with self._changed:
            stored = self._ahead.popleft() if self._ahead else None
        loaded = self._load(stored) if stored is not None else None
        with self._changed:
            self._come += [loaded] if loaded is not None else []
        if not self._ahead:
            self._wake()

    def _load(self, stored: BlockFile) -> LoadedBlock | None:
        try:
            return load_block(self._folder, stored, self._fingerprint, self._scratch)
        except (BadBlockError, OSError, MemoryError, RuntimeError) as error:  # MLX without memory raises the last one
            if isinstance(error, MemoryError | RuntimeError):
                with self._changed:
                    self._ahead.clear()
            self._forget(self._vanished() if isinstance(error, FileNotFoundError) else [stored])
            if not isinstance(error, OSError):
                self._say(f"a block of the prefix cache was dropped: {error} ({stored.name})")
            return None

    def _forget(self, gone: Sequence[BlockFile]) -> None:
        """Drop blocks from the index, except those that are about to be written."""
        with self._changed:
            writing = {write.stored.key for write in self._writes}
            for stored in gone:
                if stored.key not in writing:
                    self._index.forget(stored)

    def _vanished(self) -> list[BlockFile]:
        """Return the blocks of the index without a file. Where one is missing, all may have been cleared."""
        there = set(os.listdir(self._folder)) if self._folder.is_dir() else set()
        with self._changed:
            return [stored for stored in self._index.blocks.values() if stored.name not in there]

    def _write(self, write: BlockWrite) -> None:
        try:
            make_private(self._root)  # it may have been deleted by hand
            if shutil.disk_usage(self._root).free < self._reserve + write.stored.size:
                raise OSError("too little disk space is left")
            size = write_block(self._folder, write.stored, write.header, write.buffers)
            if self._model:
                write_label(self._folder, self._model)
            self._total, self._unseen = self._total + size, self._unseen + size
        except OSError as error:
            with self._changed:
                self._index.forget(write.stored)
            if not self._told:
                self._told = True
                self._say(f"the prefix cache cannot be written to {self._root}: {error}")
        with self._changed:
            self._queued -= write.stored.size
        if self._total > self._max_bytes or self._unseen > self._max_bytes // 8:  # other workers write too
            self._tidy()

    def _touch(self, blocks: list[BlockFile]) -> None:
        for stored in blocks:
            try:
                os.utime(self._folder / stored.name, follow_symlinks=False)
            except OSError:  # deleted by another worker, or by hand
                self._forget([stored])

    def _tidy(self) -> None:
        try:
            make_private(self._root)
            self._total, deleted = bound(self._root, self._max_bytes)
            self._unseen = 0
        except OSError as error:
            self._say(f"the prefix cache cannot use {self._root}: {error}")
            return
        gone = [parse_name(path.name, 0) for path in deleted if path.parent == self._folder]
        with self._changed:
            for stored in filter(None, gone):
                self._index.forget(stored)
