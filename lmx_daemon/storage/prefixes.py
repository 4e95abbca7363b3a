"""The files of the prefix cache on disk: listing and removal. Both are safe while workers use the cache.

Each model has a folder named by its fingerprint, with blocks (`*.kv`) and the name of the model. A worker treats a
removed block as one that never existed. Links are neither followed nor deleted.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lmx_daemon.contract.frozen import Frozen

SUFFIX = ".kv"
LABEL = "model"
"""Name of the file with the name of the model."""
MAX_LABEL = 4096
BLOCK_BYTES = 512
"""Unit of `st_blocks`, on every file system."""


class StoredPrefixes(Frozen, frozen=True):
    """Blocks of one model on disk."""

    model: str
    """Id under which the model was loaded, or the fingerprint if the id is unknown."""
    folder: str
    blocks: int = 0
    size: int = 0
    """Total size in bytes."""
    oldest: float | None = None
    newest: float | None = None
    """Times of the last use of a block, in seconds since 1970."""


def stored_prefixes(root: Path) -> list[StoredPrefixes]:
    """Return the stored blocks of each model, the largest first."""
    found = []
    for folder in _folders(root):
        states = [state for _, state in _blocks(folder)]
        if states:
            times = [state.st_mtime for state in states]
            found.append(
                StoredPrefixes(
                    model=read_label(folder) or folder.name,
                    folder=str(folder),
                    blocks=len(states),
                    size=sum(map(allocated_bytes, states)),
                    oldest=min(times),
                    newest=max(times),
                )
            )
    return sorted(found, key=lambda one: -one.size)


def clear_prefixes(root: Path, model: str | None = None) -> list[StoredPrefixes]:
    """Delete the blocks of `model`, or of all models, and return the deleted ones. Raises OSError."""
    cleared = []
    for one in stored_prefixes(root):
        if model not in (None, one.model, Path(one.folder).name):
            continue
        folder, blocks, size = Path(one.folder), 0, 0
        for path, state in _blocks(folder):
            with contextlib.suppress(FileNotFoundError):  # a worker may have been first
                path.unlink()
                blocks, size = blocks + 1, size + allocated_bytes(state)
        remove_if_empty(folder)
        cleared.append(StoredPrefixes(model=one.model, folder=one.folder, blocks=blocks, size=size))
    return cleared


def allocated_bytes(status: os.stat_result) -> int:
    """Return the bytes that a file occupies on the disk: less than its length for a sparse file."""
    return min(status.st_size, status.st_blocks * BLOCK_BYTES)


def make_private(folder: Path) -> None:
    """Create `folder` and its missing parents with mode 0700; `Path.mkdir` gives parents the default mode."""
    for path in () if folder.is_dir() else (*reversed(folder.parents), folder):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)


def remove_if_empty(folder: Path) -> None:
    """Remove the folder of a model if it contains only its label."""
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [LABEL]:
            (folder / LABEL).unlink()
        folder.rmdir()  # fails where a block has arrived


def read_label(folder: Path) -> str:
    """Return the name of the model whose blocks are in `folder`; empty if it is unknown."""
    try:
        descriptor = os.open(folder / LABEL, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, MAX_LABEL).decode(errors="replace") if regular else ""
    finally:
        os.close(descriptor)


def write_label(folder: Path, model: str) -> None:
    """Store the name of the model whose blocks are in `folder`, unless there is one already. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(folder / LABEL, flags, 0o600)
        try:
            os.write(descriptor, model.encode(errors="replace")[:MAX_LABEL])
        finally:
            os.close(descriptor)


def _folders(root: Path) -> list[Path]:
    if root.is_symlink() or root.parent.is_symlink():  # `cache` and `cache/prefix` of lmx's home
        return []
    try:
        return sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except OSError:  # there is none
        return []


def _blocks(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name.endswith(SUFFIX)]
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            state = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(state.st_mode):
                yield Path(entry.path), state
