"""Items that a move of the Hub cache copies: one for each file and link of a repository, in a safe order.

The order makes a model complete before it is found at the target: bytes first, then the snapshots with config.json
last, then the manifests, and the refs at the end. This module only reads.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lmx_daemon.library.disk.layout import BLOB, COMMIT, repository_id

MOVING = "moving"
"""Folder in `.lmx/` of a repository that holds unfinished copies."""
FOREIGN_PARTIAL = ".incomplete"
OWN_PARTIAL = ".lmx.incomplete"


@dataclass(frozen=True)
class MoveItem:
    """Entry to make at the target."""

    place: str
    """Path in the cache."""
    origins: tuple[Path, ...]
    """Entries of the source that can be deleted once all items that name them are proved."""
    source: Path | None = None
    """File whose bytes are copied; None for a link."""
    link: str = ""
    """Target of the link to make."""
    size: int = 0

    @property
    def key(self) -> str:
        """The place as text that JSON can hold."""
        return os.fsencode(self.place).decode(errors="backslashreplace")

    @property
    def manifest(self) -> bool:
        """Return whether the item is a manifest, which states the times of the files."""
        parts = Path(self.place).parts
        return len(parts) == 3 and parts[1] == ".lmx" and parts[2].endswith(".json") and bool(COMMIT.match(parts[2]))


@dataclass(frozen=True)
class RepositoryItems:
    """The items of one repository, and the paths that are not copied, with the reason."""

    items: tuple[MoveItem, ...]
    left: tuple[tuple[Path, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes to copy."""
        return sum(item.size for item in self.items)


def repository_items(cache: Path, folder: Path, links: bool = True) -> RepositoryItems:
    """Return the items of the repository in `folder`. Without `links`, the target gets files in their place.

    Raises OSError.
    """
    if folder.is_symlink():
        link = MoveItem(folder.name, (folder,), link=moved_link(folder, cache))
        return RepositoryItems((link,)) if links else RepositoryItems((), ((folder, "is a link to another folder"),))
    items: list[MoveItem] = []
    left: list[tuple[Path, str]] = []
    copied: set[Path] = set()
    for root, folders, names in os.walk(folder, onerror=_raise):
        if Path(root) == folder / ".lmx":
            folders[:] = [name for name in folders if name != MOVING]
        for name in [*names, *(each for each in folders if os.path.islink(os.path.join(root, each)))]:
            path = Path(root, name)
            made = _item(cache, folder, path, links)
            if isinstance(made, str):
                left.append((path, made))
            else:
                items.append(made)
                copied.update(made.origins if len(made.origins) > 1 else ())
    kept = [item for item in items if len(item.origins) > 1 or item.origins[0] not in copied]
    return RepositoryItems(tuple(sorted(kept, key=lambda item: (_rank(item), item.place))), tuple(left))


def moved_link(link: Path, cache: Path) -> str:
    """Return the text of a link after the move: relative inside moved repositories, else absolute. Raises OSError."""
    text = os.readlink(link)
    goal = os.path.normpath(os.path.join(link.parent, text))
    inside = os.path.relpath(goal, cache)
    if repository_id(Path(inside).parts[0]):
        return os.path.relpath(goal, link.parent)
    return goal


def _item(cache: Path, folder: Path, path: Path, links: bool) -> MoveItem | str:
    """Return the item of an entry, or the reason why it is not copied."""
    status, place = path.lstat(), os.path.relpath(path, cache)
    if stat.S_ISREG(status.st_mode):
        if path.name.endswith(FOREIGN_PARTIAL) and not path.name.endswith(OWN_PARTIAL):
            return "is an unfinished download of another program"
        return MoveItem(place, (path,), source=path, size=status.st_size)
    if not stat.S_ISLNK(status.st_mode):
        return "is neither a file nor a link"
    if links:
        return MoveItem(place, (path,), link=moved_link(path, cache))
    goal = Path(os.path.realpath(path))
    if not goal.is_file() or not goal.is_relative_to(os.path.realpath(folder)):
        return "is a link, which the other disk does not support"
    blob = folder / os.path.relpath(goal, os.path.realpath(folder))
    return MoveItem(place, (path, blob), source=blob, size=goal.stat().st_size)


def _rank(item: MoveItem) -> int:
    parts = Path(item.place).parts
    part = parts[1] if len(parts) > 2 else ""
    if part == "snapshots":
        return 2 if parts[-1] != "config.json" else 3
    return {"blobs": 0, ".lmx": 4, "refs": 5}.get(part, 1)


def stated_hash(path: Path) -> str | None:
    """Return the hash that the name of a blob states; None for any other file."""
    return path.name if path.parent.name == "blobs" and BLOB.fullmatch(path.name) else None


def _raise(error: OSError) -> None:
    raise error
