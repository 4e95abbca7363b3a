"""A repository of the Hugging Face cache as it is on the disk: snapshots, refs, blobs and partial files.

This module only reads.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lmx_daemon.contract.admin.library.files import Revision
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.disk.layout import COMMIT, current_commit, read_ref, repository_id
from lmx_daemon.library.disk.links import FileEntry, Identity, LinkHolder, files_below, files_in, reached

PARTIAL = (".incomplete", ".lmx")
"""Suffixes of unfinished files in `blobs/`, of any program."""


@dataclass(frozen=True)
class CachedSnapshot:
    """The files of one commit: links into `blobs/`, or real files on a disk without symbolic links."""

    commit: str
    folder: Path
    files: list[FileEntry]
    reached: set[Identity]
    """Its files and links, and everything that they lead to."""
    modified: float


@dataclass
class CachedRepository:
    """Repository of the cache."""

    id: str
    folder: Path
    current: str | None
    """The commit that loads use."""
    refs: dict[str, list[str]] = field(default_factory=dict)
    """Names of the refs that point to each commit."""
    snapshots: dict[str, CachedSnapshot] = field(default_factory=dict)
    blobs: list[FileEntry] = field(default_factory=list)
    partial: list[FileEntry] = field(default_factory=list)
    owned: bool = True
    """Whether its files may be deleted: its folder, `.lmx/`, `blobs/` and `snapshots/` are not links."""

    @property
    def sizes(self) -> dict[Identity, int]:
        """Bytes of each file that lies in this repository; hard links to the same bytes are one file."""
        own = [file for snapshot in self.snapshots.values() for file in snapshot.files]
        return {file.identity: file.size for file in (*self.blobs, *own) if file.regular}

    @property
    def unnamed(self) -> list[CachedSnapshot]:
        """Snapshots that no ref names, without the current one. Another program may have pinned one by its commit."""
        return [
            snapshot
            for commit, snapshot in self.snapshots.items()
            if commit not in self.refs and commit != self.current
        ]

    def size(self, commits: Collection[str]) -> int:
        """Return the bytes in this repository that the commits lead to."""
        sizes = self.sizes
        used = set().union(*(self.snapshots[commit].reached for commit in commits))
        return sum(sizes[identity] for identity in used & sizes.keys())

    def revisions(self) -> list[Revision]:
        """Return the snapshots for display."""
        return [
            Revision(
                commit=commit,
                refs=tuple(self.refs.get(commit, ())),
                size=self.size([commit]),
                current=commit == self.current,
                modified_at=snapshot.modified,
            )
            for commit, snapshot in self.snapshots.items()
        ]


def repositories(cache: Path) -> Iterator[CachedRepository]:
    """Yield the repositories of models in the cache. Raises DiskError when a snapshot cannot be read."""
    for name in _names(cache):
        if identity := repository_id(name):
            yield read_repository(cache / name, identity)


def other_holders(cache: Path) -> list[LinkHolder]:
    """Return the snapshots of the other folders of the cache: data sets, and models without an owner."""
    return [LinkHolder(cache / name / "snapshots") for name in _names(cache) if not repository_id(name)]


def read_repository(folder: Path, identity: str) -> CachedRepository:
    """Return the repository in `folder`. Raises DiskError when a snapshot cannot be read."""
    found = CachedRepository(identity, folder, current_commit(folder))
    blobs, snapshots = folder / "blobs", folder / "snapshots"
    found.owned = not any(part.is_symlink() for part in (folder, folder / ".lmx", blobs, snapshots))
    for file in files_in(blobs):
        (found.partial if file.path.name.endswith(PARTIAL) else found.blobs).append(file)
    if not (folder / ".lmx").is_symlink():
        found.partial += files_below(folder / ".lmx" / "quarantine")
    for name in _names(snapshots):
        if COMMIT.fullmatch(name) and (snapshots / name).is_dir():
            with suppress(FileNotFoundError):  # it was moved to the trash meanwhile
                found.snapshots[name] = _read_snapshot(snapshots / name)
    for file in files_below(folder / "refs"):
        if file.regular and (commit := read_ref(file.path)):
            name = valid_text(file.path.relative_to(folder / "refs").as_posix())
            found.refs.setdefault(commit, []).append(name)
    return found


def _read_snapshot(folder: Path) -> CachedSnapshot:
    files, led_to = files_below(folder), reached(LinkHolder(folder))
    return CachedSnapshot(folder.name, folder, files, led_to, folder.lstat().st_mtime)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
