"""What models take on the disk, and what of it is unused: unnamed revisions, orphaned blobs, old partial files.

`prunable` decides and deletes nothing; `remove` deletes exactly that. A file goes only where it lies in the folder of
the repository and no remaining snapshot, imported model or entry of the trash leads to it. Targets of links elsewhere
stay.
"""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmx_daemon.contract.library import DiskRow, DiskUse, PruneRow
from lmx_daemon.contract.text import valid_text
from lmx_daemon.contract.types import Model
from lmx_daemon.library.disk.cached_repository import CachedRepository, CachedSnapshot, other_holders, repositories
from lmx_daemon.library.disk.links import FileEntry, Identity, LinkHolder, file_at, reached
from lmx_daemon.library.verify.manifest import manifest_file

PARTIAL_SECONDS = 7 * 86_400.0
"""A partial file without a write for so long belongs to no pull."""
ORPHAN_SECONDS = 86_400.0
"""A younger blob may belong to an unfinished pull, by lmx or by another program."""


@dataclass(frozen=True)
class Removal:
    """One unused thing, and the files that go with it."""

    id: str
    what: Literal["unnamed revision", "orphan", "partial"]
    path: Path
    files: tuple[FileEntry, ...]
    size: int
    """Bytes that are freed once this and the removals before it are gone."""

    def row(self) -> PruneRow:
        return PruneRow(id=self.id, what=self.what, path=valid_text(str(self.path)), size=self.size)


class FreedBytes:
    """Bytes of removed files: those of a file with several hard links count when its last name goes."""

    def __init__(self) -> None:
        self._names: Counter[Identity] = Counter()

    def take(self, files: Iterable[FileEntry]) -> int:
        """Return how many more bytes are free without `files` too."""
        total = 0
        for file in files:
            self._names[file.identity] += 1
            total += file.size if self._names[file.identity] == file.names else 0
        return total


def disk_use(
    cache: Path, models: Collection[Model], trash: int, reclaimable: int, elsewhere: Collection[LinkHolder] = ()
) -> DiskUse:
    """Return the space that each model takes, the largest first. `reclaimable` are the bytes that a prune frees."""
    rows = []
    found = list(repositories(cache))
    needed = _reached([*other_holders(cache), *elsewhere]).union(
        *(snapshot.reached for one in found for snapshot in one.snapshots.values())
    )
    for one in found:
        sizes, partial = one.sizes, sum(file.size for file in one.partial)
        kept = one.size([commit for commit in one.snapshots if one.snapshots[commit] not in one.unnamed])
        orphans = sum(sizes[file.identity] for file in one.blobs if file.regular and file.identity not in needed)
        rows.append(
            DiskRow(
                id=one.id,
                path=valid_text(str(one.folder)),
                source="hub",
                size=sum(sizes.values()) + partial,
                current=one.size([one.current]) if one.current in one.snapshots else 0,
                old=one.size(list(one.snapshots)) - kept,
                orphans=orphans,
                partial=partial,
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
        reclaimable=reclaimable,
        free=_free(cache),
        cache=valid_text(str(cache)),
    )


def prunable(
    cache: Path, keep: Collection[str], busy: Collection[str], now: float, elsewhere: Collection[LinkHolder] = ()
) -> list[Removal]:
    """Return what is unused. `keep` are folders in memory, `busy` repositories with a pull, `elsewhere` folders outside
    the cache whose links count. Raises DiskError where a folder cannot be read."""
    found = list(repositories(cache))
    held = _reached([*other_holders(cache), *elsewhere])
    candidates = [
        one
        for repo in found
        if repo.owned and repo.id not in busy
        for one in repo.unnamed
        if str(one.folder) not in keep
    ]
    going = _going(found, candidates, held)
    needed = _needed(found, going, held)
    freed = FreedBytes()
    return [
        removal
        for repo in found
        if repo.id not in busy and repo.owned
        for removal in (*_revisions(repo, going, needed, freed), *_leftovers(repo, going, needed, now, freed))
    ]


def replaced(
    cache: Path, snapshot: Path, keep: Collection[str], elsewhere: Collection[LinkHolder] = ()
) -> Removal | None:
    """Return the removal of one snapshot that an update replaced, None where it must stay. Raises DiskError."""
    found = list(repositories(cache))
    held = _reached([*other_holders(cache), *elsewhere])
    candidates = [
        one
        for repo in found
        if repo.owned
        for one in repo.unnamed
        if one.folder == snapshot and not snapshot.is_symlink() and str(snapshot) not in keep
    ]
    going = _going(found, candidates, held)
    needed = _needed(found, going, held)
    return next((removal for repo in found for removal in _revisions(repo, going, needed, FreedBytes())), None)


def _going(found: Collection[CachedRepository], candidates: Iterable[CachedSnapshot], held: set[Identity]) -> set[Path]:
    """Return the folders of those candidates whose own files and links nothing that stays leads to."""
    going = {one.folder: one for one in candidates}
    while True:
        needed = _needed(found, going, held)
        wanted = {folder for folder, one in going.items() if any(file.identity in needed for file in one.files)}
        if not wanted:
            return set(going)
        going = {folder: one for folder, one in going.items() if folder not in wanted}


def _needed(found: Iterable[CachedRepository], going: Collection[Path], held: set[Identity]) -> set[Identity]:
    staying = (one for repo in found for one in repo.snapshots.values() if one.folder not in going)
    return held.union(*(one.reached for one in staying))


def _revisions(
    repo: CachedRepository, going: Collection[Path], needed: Collection[Identity], freed: FreedBytes
) -> Iterator[Removal]:
    """Yield the revisions that go, each with the blobs that nothing else leads to; the first takes what they share."""
    unused = [blob for blob in repo.blobs if blob.identity not in needed]
    for snapshot in repo.snapshots.values():
        if snapshot.folder in going:
            alone = [blob for blob in unused if blob.identity in snapshot.reached]
            unused = [blob for blob in unused if blob.identity not in snapshot.reached]
            files = (*snapshot.files, *alone)
            yield Removal(repo.id, "unnamed revision", snapshot.folder, files, freed.take(files))


def _leftovers(
    repo: CachedRepository, going: Collection[Path], needed: set[Identity], now: float, freed: FreedBytes
) -> Iterator[Removal]:
    """Yield blobs that no snapshot leads to, and partial files that no pull goes on with."""
    used = needed.union(*(one.reached for one in repo.snapshots.values() if one.folder in going))
    for blob in repo.blobs:
        if blob.identity not in used and now - blob.modified > ORPHAN_SECONDS:
            yield Removal(repo.id, "orphan", blob.path, (blob,), freed.take([blob]))
    for file in repo.partial:
        if now - file.modified > PARTIAL_SECONDS:
            yield Removal(repo.id, "partial", file.path, (file,), freed.take([file]))


def remove(removals: Iterable[Removal]) -> int:
    """Delete what `prunable` returned; return the bytes that were freed. A file that changed since is left."""
    freed, total = FreedBytes(), 0
    for removal in removals:
        if removal.what == "unnamed revision":
            _remove_snapshot(removal.path)
        total += freed.take([file for file in removal.files if _is_gone(file)])
    return total


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of everything below a folder; links inside it are not followed, `path` is."""
    if path.is_dir():
        return sum(size_on_disk(Path(root, name)) for root, _, names in os.walk(path) for name in names)
    try:
        return path.lstat().st_size if path.is_symlink() and path.parent.name != "blobs" else path.stat().st_size
    except OSError:
        return 0


def _reached(holders: Iterable[LinkHolder]) -> set[Identity]:
    return set[Identity]().union(*map(reached, holders))


def _remove_snapshot(folder: Path) -> None:
    """Remove the folder with its links and own files; where it is a link itself, only that."""
    manifest_file(folder.parents[1], folder.name).unlink(missing_ok=True)
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _is_gone(file: FileEntry) -> bool:
    """Remove the directory entry if it is still the same file; return whether it is gone."""
    now = file_at(file.path)
    if now is None or now.identity != file.identity:
        return now is None
    try:
        file.path.unlink()
    except OSError:
        return False
    return True


def _free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
