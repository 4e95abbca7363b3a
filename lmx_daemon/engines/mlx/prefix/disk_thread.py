"""The disk thread of the prefix cache: its queues, its index, and how it reads and writes blocks.

MLX arrays are made from bytes alone, which schedules nothing on any stream. Other threads take `_changed` to put work
into the queues; disk_tier.py is their side.
"""

import contextlib
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from lmx_daemon.engines.mlx.prefix.block_codec import BlockWrite, LoadedBlock, load_block
from lmx_daemon.engines.mlx.prefix.block_files import (
    BadBlockError,
    BlockFile,
    ReadBuffer,
    blocks_in,
    bound,
    parse_name,
    write_block,
)
from lmx_daemon.engines.mlx.prefix.disk_index import DiskIndex, recent
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.storage.prefixes import make_private, write_label

LEFT_ALONE = "the prefix cache's disk is left alone from now on"
ANSWER_SECONDS = 0.5
"""Time without progress after which the disk counts as silent: a mount may hang."""
RESERVE_BYTES = 2 * 1024**3
"""Disk space that stays free."""


class DiskThread:
    """Index, queues and thread of one model's folder."""

    def __init__(
        self,
        root: Path,
        fingerprint: str,
        max_bytes: int,
        warn: Callable[[str], None],
        wake: Callable[[], None],
        reserve: int = RESERVE_BYTES,
        model: str = "",
    ) -> None:  # long: its fields, each with its meaning
        """`warn` receives a line for the log, `wake` is called when a read is done; both on the disk thread."""
        self._root, self._folder = root, root / fingerprint
        self._fingerprint, self._model = fingerprint, model
        self._max_bytes, self._reserve = max_bytes, reserve
        self._warn, self._wake = warn, wake
        self._changed = threading.Condition()
        self._index = DiskIndex()
        self._reads: deque[DiskRead] = deque()
        self._pending: list[DiskRead] = []
        """Queued reads and those whose blocks the engine thread has not inserted yet."""
        self._plan: tuple[bytes, int] | None = None
        self._ahead: deque[BlockFile] = deque()
        """Blocks that were used last before the start, to be read while the worker is idle."""
        self._read_ahead: list[LoadedBlock] = []
        """Those of them that the engine thread has not inserted yet."""
        self._writes: deque[BlockWrite | Path] = deque()
        """Blocks to write and files to delete, in their order: one file may be written, deleted and written again."""
        self._touches: deque[list[BlockFile]] = deque(maxlen=64)
        self._touched: dict[bytes, float] = {}
        self._restored: set[bytes] = set()
        self._queued = 0
        self._buffer = ReadBuffer(self._note_progress)
        self._busy = True
        self._progress_at = time.monotonic()
        """Time of the last piece of work that the thread began or finished."""
        self._ending = self._closing = False
        """Whether reading ahead has to end, and whether all work has to end."""
        self._total = self._unseen = 0
        """Bytes of all models (at the last scan, plus those written since); bytes written since the last scan."""
        self._write_failure_reported = False
        self._silent = False
        """Whether the engine thread has found that the disk does not answer."""
        self.dropped = 0
        """Number of blocks that were not written because the queue was full."""
        self.ready = threading.Event()
        """Set once the index has been read."""
        threading.Thread(target=self._run, name="disk", daemon=True).start()

    @property
    def answers(self) -> bool:
        """Return whether the disk makes progress, or has nothing to do. Any thread may ask."""
        return not self._busy or time.monotonic() - self._progress_at < ANSWER_SECONDS

    def _note_progress(self) -> None:
        self._progress_at = time.monotonic()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # the top of this thread: requests wait for it
            self._warn(f"{LEFT_ALONE}: {error!r}")
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
            self._note_progress()
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
                self._note_progress()
                self._busy = True
                # Reads first: a request waits for a read, but not for a write.
                read = self._reads.popleft() if self._reads else None
                touch = self._touches.popleft() if read is None and self._touches else None
                write = self._writes.popleft() if read is None and touch is None and self._writes else None
                idle = read is None and touch is None and write is None
            if read is not None:
                self._read(read)
            if touch is not None:
                self._touch(touch)
            if isinstance(write, BlockWrite):
                self._write(write)
            elif write is not None:
                self._delete(write)
            if idle:
                self._read_one_ahead()

    def _delete(self, file: Path) -> None:
        with contextlib.suppress(OSError):
            file.unlink()
        self._note_progress()

    def _read(self, fetch: DiskRead) -> None:
        try:
            for stored in fetch.wanted:
                self._note_progress()
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
        if plan is not None:  # without the lock: there may be a hundred thousand blocks
            found = recent(blocks, *plan)
            with self._changed:
                self._ahead = deque(() if self._ending else found)
        with self._changed:
            stored = self._ahead.popleft() if self._ahead else None
        loaded = self._load(stored) if stored is not None else None
        with self._changed:
            self._read_ahead += [loaded] if loaded is not None else []
        if not self._ahead:
            self._wake()

    def _load(self, stored: BlockFile) -> LoadedBlock | None:
        try:
            return load_block(self._folder, stored, self._fingerprint, self._buffer)
        except (
            BadBlockError,
            OSError,
            MemoryError,
            RuntimeError,
        ) as error:  # MLX raises RuntimeError when memory is short
            if isinstance(error, MemoryError | RuntimeError):
                with self._changed:
                    self._ahead.clear()
            self._forget(self._vanished() if isinstance(error, FileNotFoundError) else [stored])
            if not isinstance(error, OSError):
                self._warn(f"a block of the prefix cache was dropped: {error} ({stored.name})")
            return None

    def _forget(self, gone: Sequence[BlockFile]) -> None:
        """Remove blocks from the index, except those that wait to be written."""
        with self._changed:
            writing = {write.stored.key for write in self._writes if isinstance(write, BlockWrite)}
            for stored in gone:
                if stored.key not in writing:
                    self._index.forget(stored)

    def _vanished(self) -> list[BlockFile]:
        """Return the blocks of the index that have no file: if one is missing, all may have been deleted."""
        there = set(os.listdir(self._folder)) if self._folder.is_dir() else set()
        with self._changed:
            return [stored for stored in self._index.blocks.values() if stored.name not in there]

    def _write(self, write: BlockWrite) -> None:
        try:
            make_private(self._root)  # a user may have deleted it
            if shutil.disk_usage(self._root).free < self._reserve + write.stored.size:
                raise OSError("too little disk space is left")
            size = write_block(self._folder, write.stored, write.header, write.buffers, self._note_progress)
            if self._model:
                write_label(self._folder, self._model)
            self._total, self._unseen = self._total + size, self._unseen + size
        except OSError as error:
            with self._changed:
                self._index.forget(write.stored)
            if not self._write_failure_reported:
                self._write_failure_reported = True
                self._warn(f"the prefix cache cannot be written to {self._root}: {error}")
        with self._changed:
            self._queued -= write.stored.size
        if self._total > self._max_bytes or self._unseen > self._max_bytes // 8:  # other workers write too
            self._tidy()

    def _touch(self, blocks: list[BlockFile]) -> None:
        for stored in blocks:
            try:
                os.utime(self._folder / stored.name, follow_symlinks=False)
            except OSError:  # another worker or a user has deleted it
                self._forget([stored])

    def _tidy(self) -> None:
        try:
            make_private(self._root)
            self._total, deleted = bound(self._root, self._max_bytes, self._note_progress)
            self._unseen = 0
        except OSError as error:
            self._warn(f"the prefix cache cannot use {self._root}: {error}")
            return
        gone = [parse_name(path.name, 0) for path in deleted if path.parent == self._folder]
        with self._changed:
            for stored in filter(None, gone):
                self._index.forget(stored)
