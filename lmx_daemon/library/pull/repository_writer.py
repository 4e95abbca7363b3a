"""Writes to one repository of the Hugging Face cache: verified blobs, then the manifest, the snapshot and the ref.

Other programs read the same folder, so no file gets a name that they recognise before its hash is verified.
"""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.library.disk.layout import RepositoryPaths, read_ref
from lmx_daemon.library.disk.links import LinkHolder, file_at, linked_part, reached, refuse_link
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile, read_manifest, write_manifest
from lmx_daemon.storage.durable import sync_file, sync_folder, write_file

STEP_SECONDS = 2.0
"""Coarsest resolution of file times, that of FAT."""


class RepositoryWriter:
    """Writer of one repository. The caller holds the repository's lock."""

    def __init__(self, paths: RepositoryPaths) -> None:
        self.paths = paths

    def refuse_links(self, manifest: Manifest) -> None:
        """Raise DiskError when a folder to which this manifest's pull writes is a link, or is behind a link.

        The repository's folder itself may be a link, because users move models to other disks.
        """
        paths, snapshot = self.paths, self.paths.snapshot(manifest.commit)
        parts = [paths.blobs, paths.quarantine, paths.own / "stage", snapshot]
        parts.append((paths.folder / "refs" / (manifest.revision or "main")).parent)
        parts += {(snapshot / file.path).parent for file in manifest.files}
        refuse_link(paths.folder, *parts)

    def verified_times(self, commit: str) -> dict[str, int]:
        """Return the st_mtime_ns of each blob when it was verified, from the manifest of the commit."""
        manifest = read_manifest(self.paths.manifest(commit))
        if manifest is None or manifest.proved_at is None:
            return {}
        return {file.blob: file.modified_ns for file in manifest.files if file.modified_ns is not None}

    def is_unchanged(self, commit: str, file: ManifestFile, times: Mapping[str, int]) -> bool:
        """Return whether a file has its size, and still the time that it had when it was verified."""
        try:
            status = self.paths.stored(commit, file).stat()
        except OSError:
            return False
        return status.st_size == file.size and status.st_mtime_ns == times.get(file.blob)

    def admit(self, file: ManifestFile) -> int:
        """Rename a verified partial file to its blob, and return its st_mtime_ns.

        After a power cut there is the whole blob or none.
        """
        partial, blob = self.paths.partial(file), self.paths.blob(file)
        with partial.open("rb") as written:
            sync_file(written.fileno())
        os.replace(partial, blob)
        modified = blob.stat().st_mtime_ns
        sync_folder(self.paths.blobs)
        return modified

    def quarantine(self, path: Path, file: ManifestFile) -> None:
        """Move bytes with a wrong hash out of the cache. One copy of each is kept until the snapshot is published."""
        self.paths.quarantine.mkdir(parents=True, exist_ok=True)
        os.replace(path, self.paths.quarantine / file.blob)

    def publish(self, manifest: Manifest, times: Mapping[str, int], now: float) -> None:
        """Write the manifest, then the snapshot, then the ref. Every file is verified. Raises OSError, DiskError.

        `times` are the blobs' st_mtime_ns when they were verified, so that a later write to them is detected.
        """
        self.refuse_links(manifest)
        file = self.paths.manifest(manifest.commit)
        known = read_manifest(file)
        files = {f.path: msgspec.structs.replace(f, modified_ns=times[f.blob]) for f in manifest.files}
        older = () if known is None else known.files
        others = {f.path: f for f in older if f.path not in files and self._is_linked(manifest.commit, f)}
        whole = msgspec.structs.replace(
            manifest,
            files=(*files.values(), *others.values()),
            skipped=tuple(path for path in manifest.skipped if path not in others),
            proved_at=now,
        )
        write_manifest(file, whole)
        self._link(manifest)
        shutil.rmtree(self.paths.quarantine, ignore_errors=True)
        if manifest.revision != manifest.commit:
            self._write_ref(manifest.revision or "main", manifest.commit)

    def discard(self, files: Iterable[ManifestFile], since: float) -> int:
        """Delete the files that a cancelled pull has fetched after the time `since`, and return the freed bytes.

        A file that a snapshot of any repository leads to is kept. Raises OSError, DiskError.
        """
        paths = self.paths
        if any(linked_part(paths.cache, part) for part in (paths.blobs, paths.quarantine)):
            return 0
        needed = {found for folder in paths.cache.glob("*/snapshots") for found in reached(LinkHolder(folder))}
        freed = 0
        for file in files:
            for path in (paths.partial(file), paths.quarantine / file.blob, paths.blob(file)):
                found = file_at(path)
                if found is None or not found.regular or found.identity in needed:
                    continue
                if found.modified < since - STEP_SECONDS:  # it was there before the pull
                    continue
                freed += found.size
                path.unlink()
        for folder in (paths.quarantine, paths.own, paths.blobs, paths.folder):
            with suppress(OSError):  # a folder that is not empty stays
                folder.rmdir()
        return freed

    def _is_linked(self, commit: str, file: ManifestFile) -> bool:
        return (self.paths.snapshot(commit) / file.path).exists()

    def _link(self, manifest: Manifest) -> None:
        """Make the snapshot: a new one appears whole by one rename, and an existing one gets additional links."""
        snapshot = self.paths.snapshot(manifest.commit)
        if all(_points_to(snapshot / file.path, self.paths.blob(file)) for file in manifest.files):
            return
        if not self._has_links():
            self._move(manifest)
            return
        stage = self.paths.own / "stage"  # at the depth of a snapshot, so that relative links fit both
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
        """Return whether the disk supports symbolic links; exFAT and many network disks do not."""
        probe = self.paths.own / f"probe.{os.getpid()}"
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
        """Move the blobs into the snapshot, as huggingface_hub does on a disk without symbolic links.

        config.json is moved last, because a snapshot without it is not a model yet. After a kill, the next pull
        continues with the files in both places.
        """
        snapshot = self.paths.snapshot(manifest.commit)
        names = Counter(file.blob for file in manifest.files)
        for file in sorted(manifest.files, key=lambda file: file.path == "config.json"):
            names[file.blob] -= 1
            blob, target = self.paths.blob(file), snapshot / file.path
            if not blob.exists():  # an earlier pull has moved it
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if names[file.blob]:  # a later file has the same bytes
                copy = self.paths.own / "copy"
                shutil.copy2(blob, copy)
                os.replace(copy, target)
            else:
                os.replace(blob, target)
        _sync_tree(snapshot)
        sync_folder(snapshot.parent)

    def _write_ref(self, revision: str, commit: str) -> None:
        reference = self.paths.folder / "refs" / revision
        if read_ref(reference) == commit:
            return
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_file(reference, commit.encode(), stage=self.paths.own)


def _points_to(link: Path, blob: Path) -> bool:
    try:
        return link.is_symlink() and (link.parent / os.readlink(link)).resolve() == blob.resolve() and blob.exists()
    except OSError:
        return False


def _sync_tree(folder: Path) -> None:
    for root, _, _ in os.walk(folder):
        sync_folder(Path(root))
