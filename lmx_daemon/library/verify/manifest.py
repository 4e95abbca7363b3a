"""Manifests: the files of a model at one commit, with the sizes and hashes that its publisher stated.

This module reads and writes manifests and does not compare them with files. A manifest is stored only after every file
is verified, so a stored manifest is also the record of a verification.
"""

from pathlib import Path

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.durable import write_file
from lmx_daemon.storage.state import json_of, read_state

FORMAT = 1
MAX_BYTES = 32 * 1024 * 1024


class ManifestFile(Frozen, frozen=True):
    """File of a commit. It has a SHA-256 if it is large, else git's SHA-1, which includes a header before the bytes."""

    path: str
    """Path relative to the snapshot, with forward slashes."""
    size: int
    git_sha1: str | None = None
    sha256: str | None = None
    modified_ns: int | None = None
    """st_mtime_ns of the bytes when they were verified; a different time requires a new verification."""

    @property
    def blob(self) -> str:
        """The name of the file's blob in the cache, which is its stated hash."""
        blob = self.sha256 or self.git_sha1
        assert blob is not None, "a file of a manifest has a hash"
        return blob


class Manifest(Frozen, frozen=True):
    """The files of one model at one commit."""

    repo: str
    commit: str
    files: tuple[ManifestFile, ...]
    skipped: tuple[str, ...] = ()
    """Paths of the repository's files that were not pulled."""
    revision: str | None = None
    """The requested branch, tag or commit; None is the main branch."""
    endpoint: str = ""
    """The Hub from which the model was pulled; "" for an imported model."""
    proved_at: float | None = None
    """Time of the last verification of every byte; None before the first one."""
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


DECODE = json_of(Manifest)


def read_manifest(file: Path) -> Manifest | None:
    """Return the manifest; None when there is none, or none that can be read."""
    found = read_state(file, DECODE, limit=MAX_BYTES, loss="its model is unverified until it is verified again")
    if found is None:
        return None
    whole = found.format == FORMAT and all(entry.sha256 or entry.git_sha1 for entry in found.files)
    return found if whole else None


def write_manifest(file: Path, manifest: Manifest) -> None:
    """Write the manifest. After a power cut there is the old one or the new one. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
