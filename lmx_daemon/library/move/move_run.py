"""One run of a move, in a thread: all copies, or the remaining copies and then the deletion of proved files.

A copy run changes nothing at the source, so that a kill or a full disk costs time only. The settings name the target
before a deletion run begins. A file of the source is deleted only when its copy is proved and on the disk.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import CancelledError, ConflictError, DiskError
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.disk.cached_repository import other_holders
from lmx_daemon.library.disk.layout import RepositoryPaths, repository_id
from lmx_daemon.library.disk.links import Identity, LinkHolder, file_at, reached_from, refuse_link
from lmx_daemon.library.disk.repository_lock import locked, locked_now
from lmx_daemon.library.move.copying import copy_proved, hash_of
from lmx_daemon.library.move.items import MOVING, MoveItem, RepositoryItems, repository_items, stated_hash
from lmx_daemon.library.move.ledger import Ledger, stamp_at
from lmx_daemon.library.move.move_progress import MoveProgress
from lmx_daemon.library.verify.manifest import read_manifest, write_manifest
from lmx_daemon.storage.durable import sweep_temporary, sync_folder

Holders = Callable[[], Iterable[LinkHolder]]
"""Function that returns the folders outside the source whose links may lead into it."""


class MoveRun:
    """A run over all repositories of the source. `run` blocks, and `stop` ends it from another thread."""

    def __init__(
        self, ledger: Ledger, progress: MoveProgress, holders: Holders, *, delete: bool, hard_links: bool = True
    ) -> None:
        self._ledger = ledger
        self._progress = progress
        self._holders = holders
        self._delete = delete
        self._hard_links = hard_links
        self._stop = threading.Event()
        self._links = True
        self._device = 0

    def stop(self) -> None:
        """End the run at the next chunk."""
        self._stop.set()

    def run(self) -> None:
        """Run to the end. Raises CancelledError, ConflictError for a repository in use, DiskError, OSError."""
        source, target = self._ledger.source, self._ledger.target
        target.mkdir(exist_ok=True)
        self._device = target.stat().st_dev
        self._links = has_links(target)
        try:
            folders = repository_folders(source)
            for folder in folders:
                self._progress.expect(repository_items(source, folder, self._links).size)
            held = self._held() if self._delete else set()
            for folder in folders:
                self._move(folder, held)
        finally:
            self._ledger.save()
        if self._delete:
            _remove_empty(source)

    def _held(self) -> set[Identity]:
        """Return the files to which links in folders outside the move lead. Raises DiskError."""
        return reached_from([*other_holders(self._ledger.source), *self._holders()])

    def _move(self, folder: Path, held: set[Identity]) -> None:
        repo = repository_id(folder.name) or folder.name
        self._progress.begin_model(repo)
        if folder.is_symlink():
            self._repository(folder, held)
            return
        here, there = (RepositoryPaths(cache, repo) for cache in (self._ledger.source, self._ledger.target))
        refuse_link(here.folder, here.blobs, here.own, here.folder / "snapshots", here.folder / "refs")
        refuse_link(there.cache, there.blobs, there.own, there.folder / "snapshots", there.folder / "refs")
        try:
            with locked_now(here), locked(there, self._stop):
                sweep_temporary(there.own)  # of a move that was killed while it wrote a manifest
                self._repository(folder, held)
        except CancelledError:
            if self._stop.is_set():
                raise
            raise ConflictError(
                f"{repo} is being pulled", hint="wait until `lmx downloads` shows its end, and run the command again"
            ) from None

    def _repository(self, folder: Path, held: set[Identity]) -> None:
        found = repository_items(self._ledger.source, folder, self._links)
        moved = {item: self._item(folder, item) for item in found.items}
        if self._delete:
            self._remove(folder, found, moved, held)
        elif not folder.is_symlink():
            shutil.rmtree(self._ledger.target / folder.name / ".lmx" / MOVING, ignore_errors=True)
        for path, reason in found.left:
            self._progress.leave_out(str(path), reason)

    def _item(self, folder: Path, item: MoveItem) -> bool:
        """Make one item at the target, and return whether it is there and proved."""
        if self._stop.is_set():
            raise CancelledError("the move was stopped")
        if os.stat(self._ledger.target).st_dev != self._device:
            raise DiskError(
                f"the disk of {valid_text(str(self._ledger.target))} was removed",
                hint="connect it, and run the command again: it continues where it stopped",
            )
        target = self._ledger.target / item.place
        if item.source is None:
            proved = self._link(item, target)
        elif item.manifest:
            proved = self._manifest(folder, item, item.source, target)
        else:
            proved = self._file(folder, item, item.source, target)
        if proved:
            self._progress.count_file()
        else:
            self._progress.leave_out(str(item.origins[0]), "another entry is in its place at the target")
        return proved

    def _link(self, item: MoveItem, target: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(item.link, target)
        return target.is_symlink() and os.readlink(target) == item.link

    def _file(self, folder: Path, item: MoveItem, source: Path, target: Path) -> bool:
        before, stated = stamp_at(source), stated_hash(source)
        there = stamp_at(target)
        if before is not None and there is not None and self._ledger.proves(item.key, before, there):
            self._progress.add_proved(item.size)
            return True
        if os.path.lexists(target) and not self._same(source, target, stated):
            regular = target.is_file() and not target.is_symlink()
            if stated is None or not regular or hash_of(target, stated, self._stop, lambda count: None) == stated:
                return False
            target.unlink()  # the blob has wrong bytes, and the source has other ones
        digest = ""
        if not os.path.lexists(target):
            partial = self._ledger.target / folder.name / ".lmx" / MOVING / _partial_name(item.key)
            worked, hard_links = self._progress.add_work, self._hard_links
            digest = copy_proved(source, target, partial, stated, self._stop, worked, hard_links=hard_links)
        damaged = bool(digest) and stated is not None and digest != stated
        if damaged:
            self._progress.add_damaged(item.key)
        return self._noted(item, source, target, damaged)

    def _same(self, source: Path, target: Path, stated: str | None) -> bool:
        """Return whether the target has the bytes of the source. Both are read, unless they are one file."""
        if target.is_symlink() or not target.is_file():
            return False
        if os.path.samefile(source, target):
            self._progress.add_proved(source.stat().st_size)
            return True
        if source.stat().st_size != target.stat().st_size:
            return False
        count = self._progress.add_work
        return hash_of(source, stated, self._stop, count) == hash_of(target, stated, self._stop, count)

    def _manifest(self, folder: Path, item: MoveItem, source: Path, target: Path) -> bool:
        """Write the manifest with the times of the copies, which their disk may have rounded."""
        before, there = stamp_at(source), stamp_at(target)
        if before is not None and there is not None and self._ledger.proves(item.key, before, there):
            self._progress.add_proved(item.size)
            return True
        manifest = read_manifest(source)
        if manifest is None or there is not None:
            return self._file(folder, item, source, target) if os.path.lexists(source) else True
        repo = repository_id(folder.name) or folder.name
        here, moved = (RepositoryPaths(cache, repo) for cache in (self._ledger.source, self._ledger.target))
        files = []
        for file in manifest.files:
            old, new = (stamp_at(paths.stored(manifest.commit, file)) for paths in (here, moved))
            kept = old is None or new is None or old[1] != file.modified_ns
            files.append(file if kept or new is None else msgspec.structs.replace(file, modified_ns=new[1]))
        write_manifest(target, msgspec.structs.replace(manifest, files=tuple(files)))
        self._progress.add_proved(item.size)
        return self._noted(item, source, target) and read_manifest(target) is not None

    def _noted(self, item: MoveItem, source: Path, target: Path, damaged: bool = False) -> bool:
        before, there = stamp_at(source), stamp_at(target)
        if before is None or there is None:
            return False
        self._ledger.note(item.key, before, there, damaged=damaged)
        return True

    def _remove(self, folder: Path, found: RepositoryItems, moved: dict[MoveItem, bool], held: set[Identity]) -> None:
        """Delete the entries of the source whose items are all proved, refs first."""
        if not folder.is_symlink():
            for root, _, _ in os.walk(self._ledger.target / folder.name):
                sync_folder(Path(root))
        sync_folder(self._ledger.target)
        self._ledger.save()
        staying = {origin for item, proved in moved.items() if not proved for origin in item.origins}
        for item in reversed(found.items):
            for origin in item.origins:
                entry = file_at(origin)
                if entry is None or origin in staying:
                    continue
                if entry.identity in held and entry.regular:
                    self._progress.leave_out(str(origin), "a link of another folder leads to it")
                else:
                    origin.unlink()
        if not folder.is_symlink():
            shutil.rmtree(folder / ".lmx" / MOVING, ignore_errors=True)
            shutil.rmtree(self._ledger.target / folder.name / ".lmx" / MOVING, ignore_errors=True)
            _remove_empty_below(folder)


def repository_folders(cache: Path) -> list[Path]:
    """Return the folders of models in the cache. Data sets and models without an owner stay where they are."""
    with suppress(FileNotFoundError):
        return sorted(cache / name for name in os.listdir(cache) if repository_id(name))
    return []


def has_links(folder: Path) -> bool:
    """Return whether the disk of an existing folder supports symbolic links. Raises OSError if it is not writable."""
    probe = folder / f".lmx-probe-{os.getpid()}"
    with suppress(FileNotFoundError):
        probe.unlink()
    probe.touch()
    probe.unlink()
    try:
        probe.symlink_to("nothing")
    except OSError:
        return False
    probe.unlink()
    return True


def _partial_name(key: str) -> str:
    """Return the file name of an unfinished copy, short enough for every disk."""
    return f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.incomplete"


def _remove_empty(cache: Path) -> None:
    """Remove the locks of lmx, and the folder of the moved cache if nothing is left in it."""
    for lock in (cache / ".locks").glob("models--*.lmx.lock"):
        if not (cache / lock.name.removesuffix(".lmx.lock")).exists():
            lock.unlink(missing_ok=True)
    for folder in (cache / ".locks", cache):
        with suppress(OSError):
            folder.rmdir()


def _remove_empty_below(folder: Path) -> None:
    for root, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(root)
