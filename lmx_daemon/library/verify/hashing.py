"""The hash by which the Hub names a file: sha256 of a large one, git's sha1 of a small one."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lmx_daemon.contract.errors import CancelledError
from lmx_daemon.library.verify.manifest import ManifestFile
from lmx_daemon.storage.reading import open_model_file

CHUNK_BYTES = 1 << 20
Hash = Any  # hashlib's objects have no public type


def new_hash(file: ManifestFile) -> Hash:
    """sha256 of a large file, git's sha1 of a small one."""
    if file.sha256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def hash_into(digest: Hash, source: IO[bytes], stop: threading.Event, on_bytes: Callable[[int], None]) -> None:
    """All that is left of `source`. Raises CancelledError."""
    while chunk := source.read(CHUNK_BYTES):
        if stop.is_set():
            raise CancelledError("the pull was stopped")
        digest.update(chunk)
        on_bytes(len(chunk))


def hash_file(
    path: Path, file: ManifestFile, stop: threading.Event, on_bytes: Callable[[int], None] = lambda _: None
) -> str:
    """What `file.blob` must be for the bytes at `path`. Raises CancelledError or OSError."""
    digest = new_hash(file)
    with open_model_file(path) as source:
        hash_into(digest, source, stop, on_bytes)
    return str(digest.hexdigest())
