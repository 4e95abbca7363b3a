"""Targets of the links below a folder. This module only reads.

Files are compared by device and inode, since one file may have several paths: links to folders, mounts, hard links.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lmx_daemon.contract.errors import DiskError
from lmx_daemon.contract.text import valid_text

Identity = tuple[int, int]
"""Device and inode."""
MAX_HOPS = 40
"""Longest chain of links that is followed."""
MAX_ENTRIES = 200_000
"""Upper bound on the entries below one folder; a model has a few dozen."""


@dataclass(frozen=True)
class FileEntry:
    """A directory entry other than a folder, as `lstat` describes it."""

    path: Path
    identity: Identity
    size: int
    names: int
    """Number of hard links to the same bytes, this one included."""
    modified: float
    regular: bool


@dataclass(frozen=True)
class LinkHolder:
    """A folder whose links keep their targets from being deleted."""

    folder: Path
    original: Path | None = None
    """Former path of a moved folder, which its relative links still refer to."""


def linked_part(root: Path, path: Path) -> Path | None:
    """Return the first link on the way from `root` to `path`, or None. `root` itself may be a link."""
    steps = [path, *path.parents]
    between = steps[: steps.index(root)]
    return next((step for step in reversed(between) if step.is_symlink()), None)


def refuse_link(root: Path, *paths: Path) -> None:
    """Raise DiskError if a link lies between `root` and one of `paths`: files behind it do not belong to lmx."""
    for path in paths:
        if link := linked_part(root, path):
            raise DiskError(
                f"{valid_text(str(link))} is a link, and lmx changes nothing behind it",
                hint="replace the link by a real folder",
            )


def file_at(path: Path) -> FileEntry | None:
    """Return the entry at `path`; None if it is absent or a folder."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return None
    regular = stat.S_ISREG(status.st_mode)
    size = status.st_size if regular else 0
    return FileEntry(path, (status.st_dev, status.st_ino), size, status.st_nlink, status.st_mtime, regular)


def files_in(folder: Path) -> list[FileEntry]:
    """Return the entries directly in `folder` except folders, sorted by path. An unreadable folder has no entries."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [found for name in names if (found := file_at(folder / name)) is not None]


def files_below(folder: Path) -> list[FileEntry]:
    """Return the entries at any depth except folders. Links are not followed, and neither is `folder` itself."""
    if folder.is_symlink():
        return []
    return [
        found
        for root, folders, names in os.walk(folder)
        for name in [*names, *folders]
        if (found := file_at(Path(root, name))) is not None
    ]


def reached(holder: LinkHolder) -> set[Identity]:
    """Return all files and links below the folder and all their targets. Links to folders are followed, too.

    Raises DiskError if a folder cannot be read, because its links are then unknown.
    """
    found: set[Identity] = set()
    for path in _below(holder.folder):
        found.update(_chain(path))
        if holder.original is None:
            continue
        try:
            target = os.readlink(path)
        except OSError:  # not a link
            continue
        original = os.path.join(holder.original, os.path.relpath(os.path.dirname(path), holder.folder))
        found.update(_chain(os.path.normpath(os.path.join(original, target))))
    return found


def reached_from(holders: Iterable[LinkHolder]) -> set[Identity]:
    """Return the targets of the links of all holders. Raises DiskError."""
    return set[Identity]().union(*map(reached, holders))


def _chain(path: str) -> Iterator[Identity]:
    """Yield the identities of `path` and of each link and file that it leads to."""
    for _ in range(MAX_HOPS):
        try:
            status = os.lstat(path)
            yield status.st_dev, status.st_ino
            if not stat.S_ISLNK(status.st_mode):
                return
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return


def _below(folder: Path) -> Iterator[str]:
    """Yield the path of every entry at any depth. Links to folders are followed, and each folder is read once."""
    pending, seen, count = [os.fspath(folder)], set(), 0
    while pending:
        current = pending.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                listed = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DiskError(
                f"cannot read {valid_text(current)}: {error.strerror}, so the files that it links to are unknown",
                hint="make the folder readable, or move it out of the cache",
            ) from error
        count += len(listed)
        if count > MAX_ENTRIES:
            raise DiskError(
                f"{valid_text(os.fspath(folder))} holds or links to more than {MAX_ENTRIES} files",
                hint="remove the link to a large folder from it",
            )
        for entry in listed:
            yield entry.path
            if os.path.isdir(entry.path):
                pending.append(entry.path)
