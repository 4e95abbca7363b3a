"""Manifests: what a model's files must be, as its publisher said, pinned to a commit. Read and written; never judged.

A pulled model's lies in its repository's folder of the cache, `models--<owner>--<name>/.lmx/<commit>.json`, where it
goes when the repository goes. It appears once every file is proved, so a kept manifest is always a proof.
"""

from pathlib import Path

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.durable import write_file
from lmx_daemon.storage.state import json_of, read_state

FORMAT = 1
MAX_BYTES = 32 * 1024 * 1024


class ManifestFile(Frozen, frozen=True):
    """One file. `sha256` for large files, else git's own sha1 ("blob <size>\\0" before the bytes)."""

    path: str
    """Relative to the snapshot, with forward slashes."""
    size: int
    git_sha1: str | None = None
    sha256: str | None = None
    modified_ns: int | None = None
    """st_mtime_ns of the bytes when they were proved; another one asks for a new proof."""

    @property
    def blob(self) -> str:
        """The name of its blob in the cache: its hash, never what a header says."""
        blob = self.sha256 or self.git_sha1
        assert blob is not None, "a file of a manifest has a hash"
        return blob


class Manifest(Frozen, frozen=True):
    """The files of one model at one commit."""

    repo: str
    commit: str
    files: tuple[ManifestFile, ...]
    skipped: tuple[str, ...] = ()
    """Files of the repository that were left out."""
    revision: str | None = None
    """What was asked for: a branch, a tag, a commit; None is the main branch."""
    endpoint: str = ""
    """The Hub it came from; "" for a model that was imported."""
    proved_at: float | None = None
    """When every byte was last hashed; None while that is still to come."""
    format: int = FORMAT

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


DECODE = json_of(Manifest)


def manifest_file(folder: Path, commit: str) -> Path:
    """Where the manifest of a repository's `commit` lies; `folder` is its models--<owner>--<name>."""
    return folder / ".lmx" / f"{commit}.json"


def read_manifest(file: Path) -> Manifest | None:
    """Return the manifest; None where there is none, or none that can be understood."""
    found = read_state(file, DECODE, limit=MAX_BYTES, loss="its model is unproved until it is verified again")
    if found is None:
        return None
    whole = found.format == FORMAT and all(entry.sha256 or entry.git_sha1 for entry in found.files)
    return found if whole else None


def write_manifest(file: Path, manifest: Manifest) -> None:
    """After a power cut there is the old one or the new one. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
