"""Unused files in the cache, and their removal: unnamed revisions, orphaned blobs, old partial files.

`prunable` decides and deletes nothing; `remove` deletes exactly the result of `prunable`. A file is unused only if it
lies in the folder of its repository, and no remaining snapshot, imported model or entry of the trash leads to it.
Targets of links outside the repository are kept.
"""

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmx_daemon.contract.admin.library.disk import PruneRow
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.disk.cached_repository import CachedRepository, CachedSnapshot, other_holders, repositories
from lmx_daemon.library.disk.layout import manifest_file, repository_folder
from lmx_daemon.library.disk.links import FileEntry, Identity, LinkHolder, file_at, reached_from

PARTIAL_SECONDS = 7 * 86_400.0
"""Time without a write after which a partial file belongs to no pull."""
ORPHAN_SECONDS = 86_400.0
"""Age below which a blob may belong to an unfinished pull, of lmx or of another program."""


@dataclass(frozen=True)
class Removal:
    """Unused revision, blob or partial file, with all files that are deleted together with it."""

    id: str
    what: Literal["unnamed revision", "orphan", "partial"]
    path: Path
    files: tuple[FileEntry, ...]
    size: int
    """Bytes that are freed once this and the removals before it are done."""

    def row(self) -> PruneRow:
        """Return the removal for display."""
        return PruneRow(id=self.id, what=self.what, path=valid_text(str(self.path)), size=self.size)


class FreedBytes:
    """Counter of freed bytes. A file with several hard links counts when its last name is removed."""

    def __init__(self) -> None:
        self._names: Counter[Identity] = Counter()

    def add(self, files: Iterable[FileEntry]) -> int:
        """Return the additional bytes that the removal of `files` frees."""
        total = 0
        for file in files:
            self._names[file.identity] += 1
            total += file.size if self._names[file.identity] == file.names else 0
        return total


def prunable(
    cache: Path, keep: Collection[str], busy: Collection[str], now: float, elsewhere: Collection[LinkHolder] = ()
) -> list[Removal]:
    """Return the unused files.

    `keep` lists the folders of loaded models, `busy` the repositories with a pull, and `elsewhere` the folders outside
    the cache whose links also keep files. Raises DiskError if a folder cannot be read.
    """
    found = list(repositories(cache))
    held = reached_from([*other_holders(cache), *elsewhere])
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
    """Return the removal of one snapshot that an update replaced; None when it must stay. Raises DiskError."""
    found = list(repositories(cache))
    held = reached_from([*other_holders(cache), *elsewhere])
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
    """Return the folders of the candidates that can go: no remaining snapshot leads to their files or links."""
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
    """Yield the revisions to remove, each with the blobs that only these revisions lead to.

    A blob that several of these revisions share is removed with the first one.
    """
    unused = [blob for blob in repo.blobs if blob.identity not in needed]
    for snapshot in repo.snapshots.values():
        if snapshot.folder in going:
            alone = [blob for blob in unused if blob.identity in snapshot.reached]
            unused = [blob for blob in unused if blob.identity not in snapshot.reached]
            files = (*snapshot.files, *alone)
            yield Removal(repo.id, "unnamed revision", snapshot.folder, files, freed.add(files))


def _leftovers(
    repo: CachedRepository, going: Collection[Path], needed: set[Identity], now: float, freed: FreedBytes
) -> Iterator[Removal]:
    """Yield blobs to which no snapshot leads, and partial files that belong to no pull."""
    used = needed.union(*(one.reached for one in repo.snapshots.values() if one.folder in going))
    for blob in repo.blobs:
        if blob.identity not in used and now - blob.modified > ORPHAN_SECONDS:
            yield Removal(repo.id, "orphan", blob.path, (blob,), freed.add([blob]))
    for file in repo.partial:
        if now - file.modified > PARTIAL_SECONDS:
            yield Removal(repo.id, "partial", file.path, (file,), freed.add([file]))


def remove(removals: Iterable[Removal]) -> int:
    """Delete the result of `prunable`, and return the freed bytes. A file that was replaced since is kept."""
    freed, total = FreedBytes(), 0
    for removal in removals:
        if removal.what == "unnamed revision":
            _remove_snapshot(removal.path)
        total += freed.add([file for file in removal.files if _remove_file(file)])
    return total


def _remove_snapshot(folder: Path) -> None:
    """Remove the folder with its links and files. If the folder is itself a link, remove only the link."""
    manifest = manifest_file(repository_folder(folder), folder.name)
    if not manifest.parent.is_symlink():
        manifest.unlink(missing_ok=True)
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_file(file: FileEntry) -> bool:
    """Remove the directory entry if it is still the same file. Return whether the entry no longer exists."""
    now = file_at(file.path)
    if now is None or now.identity != file.identity:
        return now is None
    try:
        file.path.unlink()
    except OSError:
        return False
    return True
