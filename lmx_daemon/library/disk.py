"""What models take on the disk, and what of it nobody needs: old revisions, orphaned blobs, halves of old pulls.

A blob that two revisions share is counted once. What is pruned is decided by a pure look; deleting is apart from it.
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lmx_daemon.contract.library import DiskRow, DiskUse, PruneRow, Revision
from lmx_daemon.contract.types import Model
from lmx_daemon.library.manifest import manifest_file
from lmx_daemon.library.places import COMMIT, FOLDER, current_commit

HALVES = (".incomplete", ".lmx")
HALF_SECONDS = 7 * 86_400.0
"""A half that nobody has written to for so long belongs to no pull any more."""
ORPHAN_SECONDS = 86_400.0
"""A younger blob may be of a pull that has not come to its end, by lmx or by another program."""


@dataclass
class Repository:
    """One repository of the cache, as it lies there."""

    id: str
    folder: Path
    current: str | None
    refs: dict[str, list[str]] = field(default_factory=dict)
    """The names of each commit."""
    snapshots: dict[str, set[Path]] = field(default_factory=dict)
    """The blobs of each commit."""
    blobs: dict[Path, int] = field(default_factory=dict)
    halves: dict[Path, int] = field(default_factory=dict)

    @property
    def old(self) -> list[str]:
        """Commits that no name points to, and that are not the one in use."""
        return [commit for commit in self.snapshots if commit not in self.refs and commit != self.current]

    @property
    def orphans(self) -> list[Path]:
        used = set().union(*self.snapshots.values()) if self.snapshots else set()
        return [blob for blob in self.blobs if blob not in used]

    def size(self, commits: Collection[str]) -> int:
        blobs = set().union(*(self.snapshots[commit] for commit in commits)) if commits else set()
        return sum(self.blobs.get(blob, 0) for blob in blobs)

    def only_in(self, commits: Collection[str]) -> set[Path]:
        """The blobs that would be nobody's without these commits."""
        kept = [blobs for commit, blobs in self.snapshots.items() if commit not in commits]
        mine = [blobs for commit, blobs in self.snapshots.items() if commit in commits]
        return set().union(*mine) - set().union(*kept) if mine else set()

    def revisions(self) -> list[Revision]:
        return [
            Revision(
                commit=commit,
                refs=tuple(self.refs.get(commit, ())),
                size=self.size([commit]),
                current=commit == self.current,
                modified_at=_modified(self.folder / "snapshots" / commit),
            )
            for commit in self.snapshots
        ]


def repositories(cache: Path) -> Iterator[Repository]:
    try:
        names = sorted(os.listdir(cache))
    except OSError:
        return
    for name in names:
        if match := FOLDER.fullmatch(name):
            yield repository(cache / name, f"{match[1]}/{match[2]}")


def repository(folder: Path, identity: str) -> Repository:
    found = Repository(identity, folder, current_commit(folder))
    for blob in _files(folder / "blobs"):
        if blob.name.endswith(HALVES):
            found.halves[blob] = size_on_disk(blob)
        else:
            found.blobs[blob] = size_on_disk(blob)
    for half in _files(folder / ".lmx" / "quarantine"):
        found.halves[half] = size_on_disk(half)
    for snapshot in _children(folder / "snapshots"):
        if COMMIT.fullmatch(snapshot.name):
            found.snapshots[snapshot.name] = set(_blobs_of(snapshot, found))
    for ref in _files(folder / "refs"):
        try:
            commit = ref.read_text().strip()
        except (OSError, UnicodeDecodeError):
            continue
        found.refs.setdefault(commit, []).append(ref.relative_to(folder / "refs").as_posix())
    return found


def disk_use(cache: Path, models: Collection[Model], trash: int) -> DiskUse:
    """All of it, the largest first."""
    rows, seen = [], set()
    for found in repositories(cache):
        old, orphans = found.only_in(found.old), found.orphans
        seen.add(found.id)
        rows.append(
            DiskRow(
                id=found.id,
                path=str(found.folder),
                source="hub",
                size=sum(found.blobs.values()) + sum(found.halves.values()),
                current=found.size([found.current]) if found.current in found.snapshots else 0,
                old=sum(found.blobs.get(blob, 0) for blob in old),
                orphans=sum(found.blobs[blob] for blob in orphans),
                partial=sum(found.halves.values()),
            )
        )
    for model in models:
        if model.source not in ("hub", "built-in"):
            size = size_on_disk(Path(model.path))
            rows.append(DiskRow(id=model.id, path=model.path, source=model.source, size=size, current=size))
    return DiskUse(
        rows=tuple(sorted(rows, key=lambda row: -row.size)),
        total=sum(row.size for row in rows),
        trash=trash,
        reclaimable=sum(row.old + row.orphans for row in rows),
        free=_free(cache),
        cache=str(cache),
    )


def prunable(cache: Path, keep: Collection[str], busy: Collection[str], now: float) -> list[PruneRow]:
    """What nobody needs. `keep` are folders in use, `busy` the repositories that are being pulled: not touched."""
    rows = []
    for found in repositories(cache):
        if found.id in busy:
            continue
        rows += prunable_revisions(found, keep)
        rows += [
            PruneRow(id=found.id, what="orphan", path=str(blob), size=found.blobs[blob])
            for blob in found.orphans
            if now - _modified(blob) > ORPHAN_SECONDS
        ]
        rows += [
            PruneRow(id=found.id, what="partial", path=str(half), size=size)
            for half, size in found.halves.items()
            if now - _modified(half) > HALF_SECONDS
        ]
    return rows


def prunable_revisions(found: Repository, keep: Collection[str]) -> list[PruneRow]:
    old = [commit for commit in found.old if str(found.folder / "snapshots" / commit) not in keep]
    rows = []
    for commit in old:
        alone = sum(found.blobs.get(blob, 0) for blob in found.only_in([commit]))
        path = found.folder / "snapshots" / commit
        rows.append(PruneRow(id=found.id, what="old revision", path=str(path), size=alone))
    return rows


def prune(rows: Collection[PruneRow]) -> int:
    """Deletes what `prunable` named, and the blobs that are nobody's then. The bytes that were freed."""
    freed = 0
    revisions: dict[Path, list[str]] = {}
    for row in rows:
        path = Path(row.path)
        if row.what == "old revision":
            revisions.setdefault(path.parents[1], []).append(path.name)
        else:
            freed += _delete(path)
    for folder, commits in revisions.items():
        blobs = repository(folder, "").only_in(commits)  # asked anew: a pull may have come since
        for commit in commits:
            shutil.rmtree(folder / "snapshots" / commit, ignore_errors=True)
            manifest_file(folder, commit).unlink(missing_ok=True)
        freed += sum(map(_delete, blobs))
    return freed


def size_on_disk(path: Path) -> int:
    """Bytes of a file or of all below a folder; links inside it are not followed, but a link itself is."""
    if path.is_dir():
        return sum(size_on_disk(Path(root, name)) for root, _, names in os.walk(path) for name in names)
    try:
        return path.lstat().st_size if path.is_symlink() and path.parent.name != "blobs" else path.stat().st_size
    except OSError:
        return 0


def _blobs_of(snapshot: Path, found: Repository) -> Iterator[Path]:
    for root, _, names in os.walk(snapshot):
        for name in names:
            try:
                target = Path(os.path.normpath(Path(root, os.readlink(Path(root, name)))))
            except OSError:  # no link: a file of its own, as on a disk without links
                target = Path(root, name)
                found.blobs[target] = size_on_disk(target)
            yield target


def _delete(path: Path) -> int:
    size = size_on_disk(path)
    try:
        path.unlink()
    except OSError:
        return 0
    return size


def _files(folder: Path) -> list[Path]:
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError:
        return []


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
