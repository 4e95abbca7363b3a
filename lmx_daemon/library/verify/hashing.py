"""The hash by which the Hub names a file: SHA-256 for a large file, git's SHA-1 for a small one."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lmx_daemon.contract.errors import CancelledError
from lmx_daemon.library.verify.manifest import ManifestFile
from lmx_daemon.storage.foreign.reading import open_model_file

CHUNK_BYTES = 1 << 20
Hash = Any  # hashlib's objects have no public type


def new_hash(large: bool, size: int) -> Hash:
    """Return a new SHA-256 for a large file, else git's SHA-1 of a file with `size` bytes."""
    if large:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def hash_for(file: ManifestFile) -> Hash:
    """Return a new hash of the kind that the manifest states for a file."""
    return new_hash(file.sha256 is not None, file.size)


def hash_into(digest: Hash, source: IO[bytes], stop: threading.Event, on_bytes: Callable[[int], None]) -> None:
    """Hash the rest of `source`. `on_bytes` receives the number of bytes of each chunk. Raises CancelledError."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while count := source.readinto(buffer):  # type: ignore[attr-defined]
        if stop.is_set():
            raise CancelledError("the hashing was stopped")
        digest.update(buffer[:count])
        on_bytes(count)


def hash_file(path: Path, digest: Hash, stop: threading.Event, on_bytes: Callable[[int], None]) -> str:
    """Return the hexadecimal hash of a file. Raises CancelledError, OSError."""
    with open_model_file(path) as source:
        hash_into(digest, source, stop, on_bytes)
    return str(digest.hexdigest())
