"""Manifests: what a model's files must be, as its publisher said, pinned to a commit. Read and written; never judged.

A pulled model's lies in its repository's folder of the cache, `models--<owner>--<name>/.lmx/<commit>.json`, where it
goes when the repository goes. It appears once every file is proved, so a kept manifest is always a proof.
"""

import os
import threading
from pathlib import Path

import msgspec

from lmx_daemon.contract.frozen import Frozen

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


def manifest_file(folder: Path, commit: str) -> Path:
    """Where the manifest of a repository's `commit` lies; `folder` is its models--<owner>--<name>."""
    return folder / ".lmx" / f"{commit}.json"


def read_manifest(file: Path) -> Manifest | None:
    """None where there is none, or none that can be understood."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        found = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    whole = found.format == FORMAT and all(entry.sha256 or entry.git_sha1 for entry in found.files)
    return found if whole else None


def write_manifest(file: Path, manifest: Manifest) -> None:
    """After a power cut there is the old one or the new one. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def write_file(file: Path, content: bytes, mode: int = 0o644, stage: Path | None = None) -> None:
    """Whole or not at all: a temporary file (in `stage`, else beside it), fsync, rename, fsync of the folder. Raises
    OSError."""
    temporary = (stage or file.parent) / f".{file.name}.{os.getpid()}.{threading.get_ident()}.lmx"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with open(descriptor, "wb") as output:
        output.write(content)
        output.flush()
        os.fsync(output.fileno())
    os.replace(temporary, file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
