"""Which files the links below a folder lead to. It reads links and deletes nothing.

A file is compared by device and inode, since one file may have several paths: links to folders, mounts, hard links.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmx_daemon.contract.errors import DiskError
from lmx_daemon.contract.text import valid_text

Identity = tuple[int, int]
"""Device and inode."""
MAX_HOPS = 40
MAX_ENTRIES = 200_000
"""Upper bound on the entries below one folder; a model has a few dozen."""


@dataclass(frozen=True)
class FileEntry:
    """A directory entry that is no folder, as `lstat` describes it."""

    path: Path
    identity: Identity
    size: int
    names: int
    """Hard links to the same bytes, this one included."""
    modified: float
    regular: bool


@dataclass(frozen=True)
class LinkHolder:
    """A folder whose links keep their targets from being deleted."""

    folder: Path
    original: Path | None = None
    """The place for which its relative links were made, where it has been moved since."""


def file_at(path: Path) -> FileEntry | None:
    """Return the entry at `path`; None where there is none, or a folder."""
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
    """Return the entries directly in `folder` that are no folders, sorted by path; none where it cannot be read."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [found for name in names if (found := file_at(folder / name)) is not None]


def files_below(folder: Path) -> list[FileEntry]:
    """Return the entries at any depth that are no folders; links are returned, not followed, also `folder` itself."""
    if folder.is_symlink():
        return []
    return [
        found
        for root, folders, names in os.walk(folder)
        for name in [*names, *folders]
        if (found := file_at(Path(root, name))) is not None
    ]


def reached(holder: LinkHolder) -> set[Identity]:
    """Return every file and link below the folder, and all that they lead to, also through links to folders.

    Raises DiskError where a folder cannot be read: what it leads to is then unknown.
    """
    found: set[Identity] = set()
    for path in _below(holder.folder):
        found.update(_chain(path))
        if holder.original is None:
            continue
        try:
            target = os.readlink(path)
        except OSError:  # no link
            continue
        place = os.path.join(holder.original, os.path.relpath(os.path.dirname(path), holder.folder))
        found.update(_chain(os.path.normpath(os.path.join(place, target))))
    return found


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
    """Yield the path of every entry at any depth, each folder once; links to folders are followed."""
    pending, seen, count = [os.fspath(folder)], set(), 0
    while pending:
        place = pending.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                listed = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DiskError(
                f"cannot read {valid_text(place)}: {error.strerror}, so what it links to is unknown",
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
