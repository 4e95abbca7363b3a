"""One repository's folder in the Hugging Face cache, as it is written: blobs by their hash, then snapshot and ref.

Other tools read the same folder, so nothing appears under a name that they know before it is proved. What is ours
alone: `blobs/<hash>.lmx.incomplete`, `.lmx/<commit>.json` (the manifest), `.lmx/quarantine/<hash>`.
"""

import errno
import fcntl
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import CancelledError, DiskError, LmxError
from lmx_daemon.library.disk.links import LinkHolder, file_at, reached
from lmx_daemon.library.verify.manifest import (
    Manifest,
    ManifestFile,
    manifest_file,
    read_manifest,
    write_manifest,
)
from lmx_daemon.storage.durable import sync_file, sync_folder, write_file

LOCK_POLL_SECONDS = 0.2
STEP_SECONDS = 2.0
"""The coarsest step of a file system's times, FAT's."""


class RepositoryWriter:
    """`models--<owner>--<name>`."""

    def __init__(self, cache: Path, repo: str) -> None:
        self.repo = repo
        self.folder = cache / f"models--{repo.replace('/', '--')}"
        self.blobs = self.folder / "blobs"
        self.quarantined = self.folder / ".lmx" / "quarantine"

    def partial(self, file: ManifestFile) -> Path:
        return self.blobs / f"{file.blob}.lmx.incomplete"

    def blob(self, file: ManifestFile) -> Path:
        return self.blobs / file.blob

    def held(self, commit: str, file: ManifestFile) -> Path:
        """Return where the file's bytes are: the blob, or the snapshot's own file on a disk without links."""
        own = self.snapshot(commit) / file.path
        return own if own.is_file() and not own.is_symlink() and not self.blob(file).exists() else self.blob(file)

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    @contextmanager
    def locked(self, stop: threading.Event, on_wait: Callable[[str | None], None]) -> Iterator[None]:
        """One pull of a repository at a time, over all processes; the kernel frees the lock of a dead one."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        locks = self.folder.parent / ".locks"
        locks.mkdir(exist_ok=True)
        with (locks / f"{self.folder.name}.lmx.lock").open("ab") as handle:
            waited = False
            while not _try_lock(handle.fileno()):
                if not waited:
                    on_wait("another program pulls it too; waiting for that one")
                waited = True
                if stop.wait(LOCK_POLL_SECONDS):
                    raise CancelledError("the pull was stopped")
            if waited:
                on_wait(None)
            self.blobs.mkdir(parents=True, exist_ok=True)  # it may have been removed meanwhile
            yield

    @contextmanager
    def locked_now(self) -> Iterator[None]:
        """Raises CancelledError where another pull has the lock, or nothing is there."""
        if not self.folder.is_dir():
            raise CancelledError("there is nothing")
        stop = threading.Event()
        stop.set()
        with self.locked(stop, lambda _: None):
            yield

    def proved(self, commit: str) -> dict[str, int]:
        """Blob -> st_mtime_ns of its bytes when they were proved, by the manifests that are kept here."""
        manifest = read_manifest(manifest_file(self.folder, commit))
        if manifest is None or manifest.proved_at is None:
            return {}
        return {file.blob: file.modified_ns for file in manifest.files if file.modified_ns is not None}

    def is_unchanged(self, commit: str, file: ManifestFile, proved: Mapping[str, int]) -> bool:
        """Whether the bytes are those that were proved, as far as size and time tell."""
        try:
            status = self.held(commit, file).stat()
        except OSError:
            return False
        return status.st_size == file.size and status.st_mtime_ns == proved.get(file.blob)

    def admit(self, file: ManifestFile) -> int:
        """Names the partial file's proved bytes: after a power cut there is the whole blob or none. Its st_mtime_ns."""
        partial = self.partial(file)
        with partial.open("rb") as written:
            sync_file(written.fileno())
        os.replace(partial, self.blob(file))
        modified = self.blob(file).stat().st_mtime_ns
        sync_folder(self.blobs)
        return modified

    def quarantine(self, path: Path, file: ManifestFile) -> None:
        """Moves wrong bytes to where nothing reads them; one copy of each is kept until the snapshot appears."""
        self.quarantined.mkdir(parents=True, exist_ok=True)
        os.replace(path, self.quarantined / file.blob)

    def publish(self, manifest: Manifest, times: Mapping[str, int], now: float) -> None:
        """Every file is proved: now the manifest, the snapshot and its ref appear, in this order.

        `times` are the blobs' st_mtime_ns when they were proved: what is written to them later is seen.
        """
        known = read_manifest(manifest_file(self.folder, manifest.commit))
        files = {f.path: msgspec.structs.replace(f, modified_ns=times[f.blob]) for f in manifest.files}
        older = () if known is None else known.files
        others = {f.path: f for f in older if f.path not in files and self._is_linked(manifest.commit, f)}
        whole = msgspec.structs.replace(
            manifest,
            files=(*files.values(), *others.values()),
            skipped=tuple(path for path in manifest.skipped if path not in others),
            proved_at=now,
        )
        write_manifest(manifest_file(self.folder, manifest.commit), whole)
        self._link(manifest)
        shutil.rmtree(self.quarantined, ignore_errors=True)
        if manifest.revision != manifest.commit:
            self._name(manifest.revision or "main", manifest.commit)

    def _is_linked(self, commit: str, file: ManifestFile) -> bool:
        return (self.snapshot(commit) / file.path).exists()

    def _link(self, manifest: Manifest) -> None:
        """A new snapshot appears whole, by one rename; to an older one links are added."""
        snapshot = self.snapshot(manifest.commit)
        if all(_points_to(snapshot / file.path, self.blob(file)) for file in manifest.files):
            return
        if not self._has_links():
            self._move(manifest)
            return
        stage = self.folder / ".lmx" / "stage"  # as deep as a snapshot, so that relative links fit both
        shutil.rmtree(stage, ignore_errors=True)
        for file in manifest.files:
            link = stage / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            depth = len(Path(file.path).parts)
            link.symlink_to(Path(*[".."] * (depth + 1), "blobs", file.blob))
        snapshot.parent.mkdir(exist_ok=True)
        if not snapshot.exists():
            _sync_tree(stage)
            os.rename(stage, snapshot)
        else:
            for file in manifest.files:
                (snapshot / file.path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(stage / file.path, snapshot / file.path)
            _sync_tree(snapshot)
            shutil.rmtree(stage)
        sync_folder(snapshot.parent)

    def _has_links(self) -> bool:
        """Whether the disk takes symbolic links; exFAT and many network disks do not."""
        probe = self.folder / ".lmx" / f"probe.{os.getpid()}"
        try:
            probe.parent.mkdir(exist_ok=True)
            probe.symlink_to("nothing")
            probe.unlink()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            return False
        return True

    def _move(self, manifest: Manifest) -> None:
        """Move the blobs to where their links would be, as huggingface_hub does on a disk without links.

        config.json comes last: a snapshot without it is no model yet. A pull that was killed here goes on with what it
        finds in both places.
        """
        snapshot = self.snapshot(manifest.commit)
        names = Counter(file.blob for file in manifest.files)
        for file in sorted(manifest.files, key=lambda file: file.path == "config.json"):
            names[file.blob] -= 1
            blob, place = self.blob(file), snapshot / file.path
            if not blob.exists():  # moved by an earlier pull
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if names[file.blob]:  # the same bytes under one more name
                half = self.folder / ".lmx" / "copy"
                shutil.copy2(blob, half)
                os.replace(half, place)
            else:
                os.replace(blob, place)
        _sync_tree(snapshot)
        sync_folder(snapshot.parent)

    def _name(self, revision: str, commit: str) -> None:
        reference = self.folder / "refs" / revision
        try:
            if reference.read_text() == commit:
                return
        except (OSError, UnicodeDecodeError):
            pass
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_file(reference, commit.encode(), stage=self.folder / ".lmx")

    def discard(self, files: Iterable[ManifestFile], since: float) -> int:
        """Remove what a cancelled pull has fetched `since` then and no snapshot of any repository needs; return its
        bytes. Raises OSError, DiskError."""
        if self.folder.is_symlink() or self.blobs.is_symlink():
            return 0
        needed = {
            identity for place in self.folder.parent.glob("*/snapshots") for identity in reached(LinkHolder(place))
        }
        freed = 0
        for file in files:
            for path in (self.partial(file), self.quarantined / file.blob, self.blob(file)):
                found = file_at(path)
                if found is None or not found.regular or found.identity in needed:
                    continue
                if found.modified < since - STEP_SECONDS:  # it was here before the pull
                    continue
                freed += found.size
                path.unlink()
        for folder in (self.quarantined, self.quarantined.parent, self.blobs, self.folder):
            with suppress(OSError):  # only where nothing is left in it
                folder.rmdir()
        return freed


def _points_to(link: Path, blob: Path) -> bool:
    try:
        return link.is_symlink() and (link.parent / os.readlink(link)).resolve() == blob.resolve() and blob.exists()
    except OSError:
        return False


def _sync_tree(folder: Path) -> None:
    for place, _, _ in os.walk(folder):
        sync_folder(Path(place))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def disk_error(error: OSError) -> LmxError:
    """What the disk said, in one line."""
    name = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError("the disk is full", hint="free some space, and pull again: it goes on where it stopped")
    if error.errno == errno.EROFS or isinstance(error, PermissionError):
        return DiskError(f"not allowed to write{name}", hint="check who owns the cache, or set HF_HUB_CACHE")
    if isinstance(error, FileNotFoundError):
        return DiskError(f"the cache's folder vanished:{name}", hint="pull again: it begins anew")
    if isinstance(error, FileExistsError | NotADirectoryError):
        return DiskError(f"a file is in the way:{name}", hint="move it away, or set HF_HUB_CACHE to another folder")
    return DiskError(f"cannot write{name}: {error.strerror or error}", hint="check the Hugging Face cache's folder")
