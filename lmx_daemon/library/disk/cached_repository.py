"""One repository of the cache as it lies on the disk: its snapshots, refs, blobs and partial files. Only a look."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lmx_daemon.contract.library import Revision
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.catalog.roots import COMMIT, FOLDER, current_commit
from lmx_daemon.library.disk.links import FileEntry, Identity, LinkHolder, files_below, files_in, reached

PARTIAL = (".incomplete", ".lmx")


@dataclass(frozen=True)
class CachedSnapshot:
    """The files of one commit: links into `blobs/`, or real files on a disk without links."""

    commit: str
    folder: Path
    files: list[FileEntry]
    reached: set[Identity]
    """Its files and links, and everything that they lead to."""
    modified: float


@dataclass
class CachedRepository:
    """One repository of the cache."""

    id: str
    folder: Path
    current: str | None
    refs: dict[str, list[str]] = field(default_factory=dict)
    """The refs that name each commit."""
    snapshots: dict[str, CachedSnapshot] = field(default_factory=dict)
    blobs: list[FileEntry] = field(default_factory=list)
    partial: list[FileEntry] = field(default_factory=list)
    owned: bool = True
    """Whether its files may be deleted: its folder, `blobs/` and `snapshots/` are no links."""

    @property
    def sizes(self) -> dict[Identity, int]:
        """The bytes of each file that lies in this repository; hard links are one file."""
        own = [file for snapshot in self.snapshots.values() for file in snapshot.files]
        return {file.identity: file.size for file in (*self.blobs, *own) if file.regular}

    @property
    def unnamed(self) -> list[CachedSnapshot]:
        """Snapshots that no ref names, without the one in use. Other programs may have pinned them by commit."""
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
    for name in _names(cache):
        if match := FOLDER.fullmatch(name):
            yield repository(cache / name, f"{match[1]}/{match[2]}")


def other_holders(cache: Path) -> list[LinkHolder]:
    """Return the snapshots of repositories that are none of lmx's: data sets, and models without an owner."""
    return [LinkHolder(cache / name / "snapshots") for name in _names(cache) if not FOLDER.fullmatch(name)]


def repository(folder: Path, identity: str) -> CachedRepository:
    """Return what lies in `folder`. Raises DiskError where a snapshot cannot be read."""
    found = CachedRepository(identity, folder, current_commit(folder))
    blobs, snapshots = folder / "blobs", folder / "snapshots"
    found.owned = not any(place.is_symlink() for place in (folder, blobs, snapshots))
    for file in files_in(blobs):
        (found.partial if file.path.name.endswith(PARTIAL) else found.blobs).append(file)
    if not (folder / ".lmx").is_symlink():
        found.partial += files_below(folder / ".lmx" / "quarantine")
    for name in _names(snapshots):
        if COMMIT.fullmatch(name) and (snapshots / name).is_dir():
            found.snapshots[name] = snapshot_at(snapshots / name)
    for file in files_below(folder / "refs"):
        try:
            commit = file.path.read_text().strip() if file.regular else ""
        except (OSError, UnicodeDecodeError):
            continue
        name = valid_text(file.path.relative_to(folder / "refs").as_posix())
        found.refs.setdefault(commit, []).append(name)
    return found


def snapshot_at(folder: Path) -> CachedSnapshot:
    """Raises DiskError."""
    return CachedSnapshot(
        folder.name, folder, files_below(folder), reached(LinkHolder(folder)), folder.lstat().st_mtime
    )


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
