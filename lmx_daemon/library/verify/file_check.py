"""Proves a model's files by hashing them again, offline: against the kept manifest, the cache's own names, or nothing.

Hashing is on all cores, a file to each; it writes nothing.
"""

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import CancelledError, ModelLoadError
from lmx_daemon.contract.library import FileRow, FileState
from lmx_daemon.contract.text import valid_text
from lmx_daemon.contract.types import Model
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile
from lmx_daemon.library.verify.manifest_store import is_weights
from lmx_daemon.storage.reading import open_model_file

READ_BYTES = 1 << 20
TELL_SECONDS = 0.15
BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
IGNORED = (".DS_Store",)


@dataclass(frozen=True)
class ExpectedFiles:
    """What the files must be; `against` says in words where that comes from. None: nobody has said yet."""

    manifest: Manifest | None
    against: str


@dataclass(frozen=True)
class CheckedFile:
    """A file as it is on the disk."""

    entry: ManifestFile | None
    """Where it is proved: with its hash, and the time that the bytes had then."""
    row: FileRow


@dataclass
class HashProgress:
    done: int = 0
    total: int = 0


def expected_of(model: Model, manifest: Manifest | None) -> ExpectedFiles:
    """A model that another program fetched into the cache is proved by the names of its blobs, which are hashes."""
    if model.source == "built-in":
        return ExpectedFiles(None, "it is a part of lmx")
    if manifest is not None:
        return ExpectedFiles(manifest, "the Hub's hashes" if manifest.endpoint else "the recorded hashes")
    folder = Path(model.path)
    entries = [entry for path in files_of(folder) if (entry := _by_blob(folder, path)) is not None]
    if model.source == "hub" and entries:
        named = Manifest(repo=model.id, commit=model.revision or "", files=tuple(entries))
        return ExpectedFiles(named, "the cache's hashes")
    return ExpectedFiles(None, "nothing yet")


def files_of(folder: Path) -> list[str]:
    """Every file below the folder, links into nothing included; hidden ones are not the model's."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(root, name).relative_to(folder).as_posix()
            for name in sorted(names)
            if not name.startswith(".") and name not in IGNORED
        ]
    return found


async def checking(model: Model, expected: ExpectedFiles) -> AsyncIterator[HashProgress | list[CheckedFile]]:
    """How far it is, again and again, and at the end what was found. Leaving early stops the hashing."""
    folder = Path(model.path)
    if not folder.is_dir():
        raise ModelLoadError(f"{folder} is not there", hint=f"pull it again: lmx pull {model.id}")
    hasher = _Hasher(folder)
    wanted = {entry.path: entry for entry in expected.manifest.files} if expected.manifest else {}
    paths = sorted({*wanted, *files_of(folder)})
    hasher.progress.total = sum(_size(folder / path) for path in paths)
    work = asyncio.create_task(asyncio.to_thread(hasher.all, paths, wanted, expected.manifest is None))
    try:
        while not work.done():
            yield hasher.progress
            await asyncio.wait([work], timeout=TELL_SECONDS)
        yield await work
    finally:
        hasher.stop.set()


class _Hasher:
    def __init__(self, folder: Path) -> None:
        self.progress = HashProgress()
        self.stop = threading.Event()
        self._folder = folder
        self._lock = threading.Lock()

    def all(self, paths: list[str], wanted: dict[str, ManifestFile], recording: bool) -> list[CheckedFile]:
        largest_first = sorted(paths, key=lambda path: -_size(self._folder / path))
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="verify") as threads:
            found = dict(
                zip(
                    largest_first,
                    threads.map(lambda path: self._one(path, wanted.get(path), recording), largest_first),
                    strict=True,
                )
            )
        return [found[path] for path in paths]

    def _one(self, path: str, wanted: ManifestFile | None, recording: bool) -> CheckedFile:
        found = self._look(path, wanted, recording)
        return replace(found, row=msgspec.structs.replace(found.row, path=valid_text(path)))

    def _look(self, path: str, wanted: ManifestFile | None, recording: bool) -> CheckedFile:
        file = self._folder / path
        try:
            status = file.stat()  # before the first byte is read: what is written from then on is seen
            size = status.st_size
            if wanted is not None and size != wanted.size:
                self._count(size)
                note = f"has {size} bytes, not {wanted.size}"
                return CheckedFile(None, FileRow(path=path, size=size, state="changed", note=note))
            large = wanted.sha256 is not None if wanted else True
            digest = self._hash(file, size, large)
        except FileNotFoundError:
            return CheckedFile(None, FileRow(path=path, size=0, state="missing", note="is missing"))
        except OSError as error:
            note = f"cannot be read: {error.strerror or error}"
            return CheckedFile(None, FileRow(path=path, size=0, state="changed", note=note))
        told = f"{'sha256' if large else 'sha1'}:{digest}"
        row = FileRow(path=path, size=size, hash=told, state="proved")
        if valid_text(path) != path:  # no manifest can hold it
            state: FileState = "changed" if is_weights(path) else "extra"
            return CheckedFile(None, msgspec.structs.replace(row, state=state, note="its name is not UTF-8"))
        if wanted is None and not recording:
            state = "changed" if is_weights(path) else "extra"
            return CheckedFile(None, msgspec.structs.replace(row, state=state, note="is not in the manifest"))
        if wanted is not None and digest != wanted.blob:
            return CheckedFile(None, msgspec.structs.replace(row, state="changed", note="has other bytes"))
        entry = wanted or ManifestFile(path=path, size=size, sha256=digest)
        return CheckedFile(msgspec.structs.replace(entry, modified_ns=status.st_mtime_ns), row)

    def _hash(self, file: Path, size: int, large: bool) -> str:
        digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        buffer = memoryview(bytearray(READ_BYTES))
        with open_model_file(file) as source:
            while count := source.readinto(buffer):
                if self.stop.is_set():
                    raise CancelledError("verifying was stopped")
                digest.update(buffer[:count])
                self._count(count)
        return digest.hexdigest()

    def _count(self, count: int) -> None:
        with self._lock:
            self.progress.done += count


def _by_blob(folder: Path, path: str) -> ManifestFile | None:
    """What the cache's link says of a file: its blob is named by its hash."""
    try:
        name = Path(os.readlink(folder / path)).name
    except OSError:
        return None
    if not BLOB.fullmatch(name) or valid_text(path) != path:
        return None
    large = len(name) == 64
    return ManifestFile(
        path=path, size=_size(folder / path), sha256=name if large else None, git_sha1=None if large else name
    )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
