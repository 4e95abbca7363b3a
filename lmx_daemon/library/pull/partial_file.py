"""The partial file of one download, which is written and hashed at the same time."""

import os
from pathlib import Path
from typing import IO

from lmx_daemon.library.verify.hashing import Hash, hash_for
from lmx_daemon.library.verify.manifest import ManifestFile


class PartialFile:
    """A partial file, with the hash of its bytes."""

    def __init__(self, output: IO[bytes], file: ManifestFile, digest: Hash) -> None:
        self.file = file
        self.digest = digest
        self.position = output.tell()
        self.was_refused = False
        self.short_responses = 0
        self.home = ("", "")
        self._output = output

    @property
    def is_full(self) -> bool:
        """Return whether the file has its length."""
        return self.position >= self.file.size

    def write(self, chunk: bytes) -> int:
        """Write those bytes of `chunk` that belong to the file, and return their number. A server may send more."""
        chunk = chunk[: self.file.size - self.position]
        view = memoryview(chunk)
        while view:
            view = view[self._output.write(view) :]
        self.digest.update(chunk)
        self.position += len(chunk)
        return len(chunk)

    def restart(self) -> None:
        """Discard the bytes, and start from the beginning."""
        self._output.seek(0)
        self._output.truncate()
        self.digest = hash_for(self.file)
        self.position = 0


def open_partial(partial: Path) -> IO[bytes]:
    """Open a partial file for reading and writing, at its beginning. A link is not followed."""
    return open(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+b", buffering=0)
