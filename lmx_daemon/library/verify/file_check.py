"""Verification of a model's files by their hashes, offline.

The hashes are compared with the stored manifest, else with the names of the cache's blobs, else they are only computed.
One file is hashed for each core at a time. Nothing is written.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lmx_daemon.contract.admin.library.files import FileRow, FileState
from lmx_daemon.contract.errors import ModelLoadError
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.disk.layout import BLOB
from lmx_daemon.library.disk.sizes import file_size
from lmx_daemon.library.verify.changes import is_weights
from lmx_daemon.library.verify.hashing import hash_file, new_hash
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile

TELL_SECONDS = 0.15
"""Interval between two progress updates."""
IGNORED = (".DS_Store",)
SHA256_LENGTH = 64


@dataclass(frozen=True)
class ExpectedFiles:
    """The expected content of a model's files. `manifest` is None when no hashes are known."""

    manifest: Manifest | None
    against: str
    """Origin of the hashes, in words."""


@dataclass(frozen=True)
class CheckedFile:
    """File with the result of its check."""

    entry: ManifestFile | None
    """The file with its hash and the time of its bytes; None when the check failed."""
    row: FileRow


@dataclass
class HashProgress:
    """Bytes that are hashed, and bytes to hash."""

    done: int = 0
    total: int = 0


def expected_files(model: Model, manifest: Manifest | None) -> ExpectedFiles:
    """Return the expected files of a model.

    Without a manifest, the blob names of the cache count: they are the hashes of files that another program pulled.
    """
    if model.source == "built-in":
        return ExpectedFiles(None, "it is a part of lmx")
    if manifest is not None:
        return ExpectedFiles(manifest, "the Hub's hashes" if manifest.endpoint else "the recorded hashes")
    folder = Path(model.path)
    entries = [entry for path in model_files(folder) if (entry := _entry_from_blob(folder, path)) is not None]
    if model.source == "hub" and entries:
        named = Manifest(repo=model.id, commit=model.revision or "", files=tuple(entries))
        return ExpectedFiles(named, "the cache's hashes")
    return ExpectedFiles(None, "nothing yet")


def model_files(folder: Path) -> list[str]:
    """Return the path of every file below a model's folder, including broken links. Hidden files are left out."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(root, name).relative_to(folder).as_posix()
            for name in sorted(names)
            if not name.startswith(".") and name not in IGNORED
        ]
    return found


async def check_files(model: Model, expected: ExpectedFiles) -> AsyncIterator[HashProgress | list[CheckedFile]]:
    """Hash a model's files: yield the progress repeatedly, and finally the checked files.

    The hashing stops when the iteration is left early. Raises ModelLoadError when the model's folder is missing.
    """
    folder = Path(model.path)
    if not await asyncio.to_thread(folder.is_dir):
        raise ModelLoadError(f"{folder} is not there", hint=f"pull it again: lmx pull {model.id}")
    check = _FileCheck(folder, expected.manifest)
    paths = await asyncio.to_thread(check.prepare)
    work = asyncio.create_task(asyncio.to_thread(check.run, paths))
    try:
        while not work.done():
            yield check.progress
            await asyncio.wait([work], timeout=TELL_SECONDS)
        yield await work
    finally:
        check.stop.set()


class _FileCheck:
    """The check of one model's files in threads."""

    def __init__(self, folder: Path, manifest: Manifest | None) -> None:
        self.progress = HashProgress()
        self.stop = threading.Event()
        self._folder = folder
        self._recording = manifest is None
        self._wanted = {entry.path: entry for entry in manifest.files} if manifest else {}
        self._lock = threading.Lock()

    def prepare(self) -> list[str]:
        """Return the paths to check, of expected and of present files."""
        paths = sorted({*self._wanted, *model_files(self._folder)})
        self.progress.total = sum(file_size(self._folder / path) for path in paths)
        return paths

    def run(self, paths: list[str]) -> list[CheckedFile]:
        """Check the files, the largest first. Raises CancelledError."""
        largest_first = sorted(paths, key=lambda path: -file_size(self._folder / path))
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="verify") as threads:
            found = dict(zip(largest_first, threads.map(self._check, largest_first), strict=True))
        return [found[path] for path in paths]

    def _check(self, path: str) -> CheckedFile:
        found = self._hash_and_compare(path, self._wanted.get(path))
        return replace(found, row=msgspec.structs.replace(found.row, path=valid_text(path)))

    def _hash_and_compare(self, path: str, wanted: ManifestFile | None) -> CheckedFile:
        file = self._folder / path
        try:
            status = file.stat()  # before the first byte is read, so that a write during the hashing is detected
            size = status.st_size
            if wanted is not None and size != wanted.size:
                self._count(size)
                note = f"has {size} bytes, not {wanted.size}"
                return CheckedFile(None, FileRow(path=path, size=size, state="changed", note=note))
            large = wanted.sha256 is not None if wanted else True
            digest = hash_file(file, new_hash(large, size), self.stop, self._count)
        except FileNotFoundError:
            return CheckedFile(None, FileRow(path=path, size=0, state="missing", note="is missing"))
        except OSError as error:
            note = f"cannot be read: {error.strerror or error}"
            return CheckedFile(None, FileRow(path=path, size=0, state="changed", note=note))
        row = FileRow(path=path, size=size, hash=f"{'sha256' if large else 'sha1'}:{digest}", state="proved")
        entry = wanted or ManifestFile(path=path, size=size, sha256=digest)
        return self._compare(path, wanted, row, msgspec.structs.replace(entry, modified_ns=status.st_mtime_ns), digest)

    def _compare(
        self, path: str, wanted: ManifestFile | None, row: FileRow, entry: ManifestFile, digest: str
    ) -> CheckedFile:
        surplus: FileState = "changed" if is_weights(path) else "extra"
        if valid_text(path) != path:  # a manifest cannot hold such a path
            return CheckedFile(None, msgspec.structs.replace(row, state=surplus, note="its name is not UTF-8"))
        if wanted is None and not self._recording:
            return CheckedFile(None, msgspec.structs.replace(row, state=surplus, note="is not in the manifest"))
        if wanted is not None and digest != wanted.blob:
            return CheckedFile(None, msgspec.structs.replace(row, state="changed", note="has other bytes"))
        return CheckedFile(entry, row)

    def _count(self, count: int) -> None:
        with self._lock:
            self.progress.done += count


def _entry_from_blob(folder: Path, path: str) -> ManifestFile | None:
    """Return the hash of a file by its link in the cache, whose target is named by the hash."""
    try:
        name = Path(os.readlink(folder / path)).name
    except OSError:
        return None
    if not BLOB.fullmatch(name) or valid_text(path) != path:
        return None
    large = len(name) == SHA256_LENGTH
    return ManifestFile(
        path=path, size=file_size(folder / path), sha256=name if large else None, git_sha1=None if large else name
    )
