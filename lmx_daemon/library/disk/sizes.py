"""Bytes that models occupy on the disk, for `lmx du`. This module only reads."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from lmx_daemon.contract.admin.library.disk import DiskRow, DiskUse
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.disk.cached_repository import CachedRepository, other_holders, repositories
from lmx_daemon.library.disk.links import Identity, LinkHolder, reached_from


def disk_use(
    cache: Path, models: Collection[Model], trash: int, reclaimable: int, elsewhere: Collection[LinkHolder] = ()
) -> DiskUse:
    """Return the bytes that each model occupies, the largest first.

    `trash` is the size of the trash, and `reclaimable` the number of bytes that `lmx prune` frees. `elsewhere` lists
    folders outside the cache whose links also keep files. Raises DiskError if a folder cannot be read.
    """
    found = list(repositories(cache))
    needed = reached_from([*other_holders(cache), *elsewhere]).union(
        *(snapshot.reached for one in found for snapshot in one.snapshots.values())
    )
    rows = [_row(one, needed) for one in found]
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


def _row(repository: CachedRepository, needed: Collection[Identity]) -> DiskRow:
    sizes, partial = repository.sizes, sum(file.size for file in repository.partial)
    snapshots, unnamed = repository.snapshots, repository.unnamed
    kept = repository.size([commit for commit in snapshots if snapshots[commit] not in unnamed])
    return DiskRow(
        id=repository.id,
        path=valid_text(str(repository.folder)),
        source="hub",
        size=sum(sizes.values()) + partial,
        current=repository.size([repository.current]) if repository.current in snapshots else 0,
        old=repository.size(list(snapshots)) - kept,
        orphans=sum(sizes[file.identity] for file in repository.blobs if file.regular and file.identity not in needed),
        partial=partial,
    )


def file_size(file: Path) -> int:
    """Return the size of a file; 0 when it cannot be read, as for a broken link."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder. Links inside the folder are not followed."""
    if path.is_dir():
        return sum(size_on_disk(Path(root, name)) for root, _, names in os.walk(path) for name in names)
    try:
        return path.lstat().st_size if path.is_symlink() and path.parent.name != "blobs" else path.stat().st_size
    except OSError:
        return 0


def _free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
