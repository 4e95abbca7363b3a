"""Block files: their format, their names, and the bound on their total size.

Each model has a folder, named by its fingerprint, in one folder for all models. A block is checked before use: version,
model, key and checksum. This module imports neither MLX nor threads; it takes and returns buffers.
"""

import contextlib
import errno
import itertools
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from lmx_daemon.storage.prefixes import SUFFIX, allocated_bytes, make_private, remove_if_empty

MAGIC = b"lmxkv\x00\x00\x01"
"""First bytes of a file. The last of them is the version."""
PREFIX = len(MAGIC) + 8
BlockKind = Literal["block", "end", "tail"]
"""A whole block; a checkpoint with the tokens since the last whole block; or only tokens that fill no block."""
KINDS: dict[BlockKind, str] = {"block": "b", "end": "e", "tail": "t"}
MAX_HEADER = 16 * 1024 * 1024
TEMPORARY = ".part"
PIECE_BYTES = 4 * 1024 * 1024
"""Bytes that are read between two reports of progress."""
SCRATCH_BYTES = 32 * 1024 * 1024
"""Size above which the read buffer is not kept for the next read."""
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NOT_REGULAR = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EOPNOTSUPP)
"""Errors of opening a link without following it (Linux and macOS, FreeBSD), and a socket (Linux, macOS)."""
STALE_SECONDS = 600.0
KEEP_OF_BOUND = 0.9
"""Part of the bound that remains filled after a deletion."""
AGE_SECONDS = 60.0
"""Span within which blocks count as equally old; of those, the end of a sequence is deleted before its beginning."""


class BadBlockError(Exception):
    """A file that is not a valid block of this model: torn, changed, foreign, or of another version."""


class BlockHeader(msgspec.Struct, frozen=True, array_like=True):
    """Header of a block file."""

    fingerprint: str
    key: bytes
    parent: bytes
    start: int
    tokens: bytes
    metadata: bytes
    """Encoded BlockMetadata."""
    arrays: tuple[tuple[str, tuple[int, ...], int], ...]
    """Type, shape and number of bytes of each array."""
    checksum: int


@dataclass(frozen=True)
class BlockFile:
    """A block on disk, as its file name describes it, and the time of its last use as far as it is known."""

    key: bytes
    parent: bytes
    start: int
    length: int
    kind: BlockKind
    size: int
    used: float = field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        """File name."""
        kind = KINDS[self.kind]
        return f"{self.key.hex()}-{self.parent.hex()}-{self.start}-{self.length}{kind}{SUFFIX}"


def parse_name(name: str, size: int, used: float = 0.0) -> BlockFile | None:
    """Return the block that a file name describes; None for any other file."""
    parts = name.removesuffix(SUFFIX).split("-")
    try:
        key, parent, start, length = parts
        if not name.endswith(SUFFIX):
            return None
        kind = next(kind for kind, letter in KINDS.items() if letter == length[-1])
        return BlockFile(bytes.fromhex(key), bytes.fromhex(parent), int(start), int(length[:-1]), kind, size, used)
    except (ValueError, IndexError, StopIteration):
        return None


def write_block(
    folder: Path,
    stored: BlockFile,
    header: BlockHeader,
    buffers: Sequence[Any],
    on_progress: Callable[[], None] = lambda: None,
) -> int:
    """Write a block and return its bytes. Not synced: a file torn by a crash fails its checksum and costs one block."""
    checksum = 0
    for buffer in buffers:
        checksum = zlib.crc32(buffer, checksum)
    body = msgspec.msgpack.encode(msgspec.structs.replace(header, checksum=checksum))
    temporary = folder / f"{stored.name}.{os.getpid()}{TEMPORARY}"
    expected = PREFIX + len(body) + sum(count for _, _, count in header.arrays)
    try:
        make_private(folder)
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, CREATE, 0o600), "wb", buffering=0) as file:
            file.write(MAGIC + len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body)
            for buffer in buffers:
                file.write(buffer)
                on_progress()
            if file.tell() != expected:  # a raw write may be short if the disk is full
                raise OSError(f"{file.tell()} of {expected} bytes were written")
        os.replace(temporary, folder / stored.name)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return expected


def open_regular(path: Path) -> int:
    """Return a read-only descriptor of the regular file `path`.

    Raises BadBlockError for a FIFO, a link, a socket, a device or a folder, and OSError. O_NONBLOCK is needed because
    opening a FIFO waits for a writer without it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in NOT_REGULAR:
            raise BadBlockError("it is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadBlockError("it is not a regular file")
    return descriptor


class ReadBuffer:
    """Memory that is reused for each read: fresh pages would cost more than reading. Used by one thread only."""

    def __init__(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """`on_progress` is called after each piece of a file."""
        self._on_progress = on_progress
        self._memory = np.empty(0, np.uint8)

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """Return the file's bytes, which stay valid until the next read. Raises BadBlockError and OSError."""
        with open(open_regular(path), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > len(self._memory) or size < SCRATCH_BYTES < len(self._memory):
                self._memory = np.empty(size, np.uint8)
            done = 0
            while done < size and (count := file.readinto(self._memory[done : min(size, done + PIECE_BYTES)].data)):
                done += count
                self._on_progress()
            return self._memory[:done]


def read_block(
    folder: Path, stored: BlockFile, fingerprint: str, buffer: ReadBuffer
) -> tuple[BlockHeader, list[npt.NDArray[np.uint8]]]:
    """Return the header and the arrays' bytes, valid until the next read.

    Raises BadBlockError, after deleting the file, and OSError.
    """
    path = folder / stored.name
    try:
        return _parse(buffer.read(path), stored, fingerprint)
    except BadBlockError:
        path.unlink(missing_ok=True)
        raise


def _parse(
    data: npt.NDArray[np.uint8], stored: BlockFile, fingerprint: str
) -> tuple[BlockHeader, list[npt.NDArray[np.uint8]]]:
    start = data[:PREFIX].tobytes()
    if len(start) < PREFIX or start[: len(MAGIC)] != MAGIC:
        raise BadBlockError("it is not a block of this version")
    length, checksum = int.from_bytes(start[8:12], "big"), int.from_bytes(start[12:16], "big")
    body = data[PREFIX : PREFIX + min(length, MAX_HEADER)].tobytes()
    if len(body) != length or zlib.crc32(body) != checksum:
        raise BadBlockError("its header is damaged")
    try:
        header = msgspec.msgpack.decode(body, type=BlockHeader)
    except msgspec.MsgspecError as error:
        raise BadBlockError(f"its header cannot be read: {error}") from error
    if header.fingerprint != fingerprint:
        raise BadBlockError("it belongs to another model")
    if header.key != stored.key or header.parent != stored.parent or header.start != stored.start:
        raise BadBlockError("it does not match its file name")
    payload = data[PREFIX + length :]
    if len(payload) != sum(count for _, _, count in header.arrays) or zlib.crc32(payload.data) != header.checksum:
        raise BadBlockError("its checksum is wrong")
    edges = np.cumsum([0] + [count for _, _, count in header.arrays])
    return header, [payload[first:last] for first, last in itertools.pairwise(edges)]


def blocks_in(folder: Path) -> Iterator[BlockFile]:
    """Yield the blocks of one model, and delete temporary files that a killed writer left."""
    for entry in _entries(folder):
        with contextlib.suppress(OSError):  # another worker has deleted it
            if entry.name.endswith(TEMPORARY):
                if _is_stale(entry):
                    os.unlink(entry.path)
                continue
            status = entry.stat(follow_symlinks=False)
            if (stored := parse_name(entry.name, status.st_size, status.st_mtime)) is not None:
                yield stored


def _is_stale(entry: os.DirEntry[str]) -> bool:
    """Return whether the writer of a temporary file is gone."""
    process = entry.name.removesuffix(TEMPORARY).rpartition(".")[2]
    if process.isdecimal() and int(process) != os.getpid():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # the process belongs to another user, or the number is out of range
            pass
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_SECONDS


def bound(root: Path, max_bytes: int, on_progress: Callable[[], None] = lambda: None) -> tuple[int, list[Path]]:
    """Delete the least recently used blocks of all models above `max_bytes`. Return bytes left and paths deleted.

    `on_progress` is called for each file.
    """
    found: list[tuple[int, int, int, Path]] = []
    for folder in _folders(root):
        for entry in _entries(folder):
            on_progress()
            if not entry.name.endswith((SUFFIX, TEMPORARY)):  # not a file of the prefix cache
                continue
            with contextlib.suppress(OSError):  # another worker has deleted it
                status = entry.stat(follow_symlinks=False)
                stored = parse_name(entry.name, status.st_size)
                depth = stored.start + stored.length if stored is not None else 0
                found.append((int(status.st_mtime // AGE_SECONDS), -depth, allocated_bytes(status), Path(entry.path)))
    total = sum(size for _, _, size, _ in found)
    deleted: list[Path] = []
    if total > max_bytes:
        for _, _, size, path in sorted(found):
            if total <= max_bytes * KEEP_OF_BOUND:
                break
            on_progress()
            with contextlib.suppress(OSError):  # a file that cannot be deleted still counts
                path.unlink(missing_ok=True)  # another worker may have deleted it
                total -= size
                deleted.append(path)
    for folder in _folders(root):
        remove_if_empty(folder)
    return total, deleted


def _folders(root: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(root) if entry.is_dir(follow_symlinks=False)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:  # it does not exist, or another worker has removed it
        return []
