"""The trash: removed models and replaced revisions, which can be restored until they expire.

Entries are moved on the same disk and never copied. Those from the cache lie in `<cache>/.locks/lmx-trash`, which the
Hub's own tools ignore; imported models lie under $LMX_HOME. Models of other programs never get here.
"""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.admin.library.disk import TrashRow
from lmx_daemon.contract.errors import ConflictError, NewerStateError, NotFoundError, RequestError
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.units import size
from lmx_daemon.library.disk.layout import repository_folder
from lmx_daemon.library.disk.links import LinkHolder, linked_part, refuse_link
from lmx_daemon.library.disk.prune import Removal
from lmx_daemon.library.disk.sizes import size_on_disk
from lmx_daemon.library.trash.trash_clock import TrashClock, uptime
from lmx_daemon.library.trash.trash_deletion import delete_entry, sweep_gone
from lmx_daemon.library.trash.trash_folders import entry_folders, holds_only
from lmx_daemon.library.trash.trash_model import restore_model
from lmx_daemon.library.trash.trash_note import CONTENT, LEFT, NOTE, STATE, TrashNote
from lmx_daemon.library.trash.trash_revision import SNAPSHOT, move_aside, restore
from lmx_daemon.storage.durable import sync_folder, write_file

LOGGER = logging.getLogger("lmx.trash")


class Trash:
    """The trash of both disks. `now` returns wall-clock time, `up` the uptime."""

    def __init__(
        self,
        cache: Path,
        imported: Path,
        keep_seconds: Callable[[], float],
        *,
        now: Callable[[], float] = time.time,
        up: Callable[[], float] = uptime,
    ) -> None:
        self._now = now
        self._imported = imported
        self._home = imported.parent
        self._bins = {"hub": cache / ".locks" / "lmx-trash", "imported": self._home / "trash"}
        self._roots = {self._bins["hub"]: cache, self._bins["imported"]: self._home}
        self._clocks = {place: TrashClock(place / "clock.json", now, up) for place in self._bins.values()}
        self._keep = keep_seconds

    def place_of(self, model: Model) -> Path:
        """Return the folder of entries for a model. Raises RequestError for a model that lmx must not remove.

        Raises DiskError when the trash is a link.
        """
        place = self._bins.get(model.source)
        if place is None:
            raise RequestError(f"lmx does not remove {model.id}: {_owner(model)}", param="id")
        if model.source == "imported" and (link := linked_part(self._home, Path(model.path).parent)):
            raise RequestError(
                f"lmx does not remove {model.id}: its files lie behind the link {link}",
                param="id",
                hint="delete it there",
            )
        refuse_link(self._roots[place], place)
        return place

    def put(self, model: Model) -> TrashRow:
        """Move a model with all its revisions to the trash. Raises RequestError for a model of another program."""
        place = self.place_of(model)
        folder = Path(model.path)
        whole = repository_folder(folder) if model.source == "hub" else folder
        note = TrashNote(
            id=model.id, source=model.source, path=str(whole), size=size_on_disk(whole), removed_at=self._now()
        )
        key, note = self._begin(place, note)
        try:
            os.rename(whole, place / key / CONTENT)
        except OSError:
            shutil.rmtree(place / key, ignore_errors=True)
            raise
        sync_folder(place / key)  # the new name first: after a power cut the model is in one of both places
        sync_folder(whole.parent)
        return self._row(place / key, note)

    def put_revision(self, removal: Removal, replaced_by: str | None) -> TrashRow:
        """Move one snapshot to the trash, and the blobs that only it uses. Raises OSError when nothing was moved."""
        place = self._bins["hub"]
        note = TrashNote(
            id=removal.id,
            source="hub",
            path=str(removal.path),
            size=removal.size,
            removed_at=self._now(),
            revision=removal.path.name,
            replaced_by=replaced_by,
        )
        key, note = self._begin(place, note)
        try:
            move_aside(removal, place / key / CONTENT)
        except OSError:
            shutil.rmtree(place / key, ignore_errors=True)
            raise
        return self._row(place / key, note)

    def rows(self) -> list[TrashRow]:
        """Return the entries, the last removed first."""
        found = [self._row(folder, note) for folder, note in self._entries()]
        return sorted(found, key=lambda row: -row.removed_at)

    def holders(self) -> list[LinkHolder]:
        """Return the folders of entries. The targets of their links must still exist when they are restored.

        Raises NewerStateError if there is an entry of a newer lmx, whose links are unknown.
        """
        if (newer := self._newer()) is not None:
            raise newer
        return [
            LinkHolder(folder / CONTENT / SNAPSHOT if note.revision else folder / CONTENT, Path(note.path))
            for folder, note in self._entries()
        ]

    def undo(self, identity: str | None) -> TrashRow:
        """Restore an entry by its id or key, else the last removed.

        Raises NotFoundError, ConflictError when its former place is taken, DiskError when that is behind a link, or
        NewerStateError when a newer lmx has made the entry.
        """
        entries = [(f, n) for f, n in self._entries() if identity is None or identity in (n.id, f.name)]
        if not entries:
            if (newer := self._newer()) is not None:
                raise newer
            if identity is None:
                raise NotFoundError("the trash is empty")
            raise NotFoundError(f"{identity} is not in the trash", hint="`lmx rm --list` shows the trash")
        folder, note = max(entries, key=lambda entry: entry[1].removed_at)
        row = self._row(folder, note)
        try:
            self._restore(folder, note)
        except FileNotFoundError:
            if folder.is_dir():
                raise
            raise NotFoundError(f"{note.id} was deleted from the trash meanwhile") from None
        shutil.rmtree(folder, ignore_errors=True)
        return row

    def _restore(self, folder: Path, note: TrashNote) -> None:
        place = Path(note.path)
        if not note.revision:
            if note.source == "imported" and place.is_relative_to(self._imported):
                refuse_link(self._home, place.parent)
            restore_model(note.id, folder / CONTENT, place, folder / LEFT, note.source == "hub")
        elif os.path.lexists(place):
            raise ConflictError(
                f"revision {note.revision[:8]} of {note.id} is installed again at {place}; nothing has to be restored"
            )
        else:
            restore(folder / CONTENT, place, note.replaced_by)

    def purge(self, *, identity: str | None = None) -> list[TrashRow]:
        """Delete the entries of one id, or all entries, including those without a readable note."""
        chosen = [(folder, note) for folder, note in self._entries() if identity in (None, note.id)]
        gone = self._delete(chosen, "as requested")
        if identity is None:
            for place in self._bins.values():
                for folder in self._folders(place):
                    if holds_only(folder, (NOTE, CONTENT, LEFT)):
                        delete_entry(folder)
            self._sweep()
        return gone

    def size_beside(self, folder: Path) -> int:
        """Return the bytes of the entries on the same disk as `folder`, which are deleted when space is short."""
        disk = folder.stat().st_dev
        return sum(note.size for place, note in self._entries() if place.stat().st_dev == disk)

    def make_room(self, wanted: int, folder: Path) -> None:
        """Delete the oldest entries until `wanted` bytes are free on the disk of `folder`, or no entry is left."""
        for entry in sorted(self._entries(), key=lambda found: found[1].removed_at):
            if shutil.disk_usage(folder).free >= wanted:
                return
            self._delete([entry], "because the disk is nearly full")

    def expire(self) -> list[TrashRow]:
        """Delete the entries that have expired, and those that a crash left without content."""
        self._sweep()
        entries = list(self._entries())
        noted = {folder for folder, _ in entries}
        expired = [(folder, note) for folder, note in entries if self._age(folder, note) > self._keep()]
        gone = self._delete(expired, "because its time is over")
        for place, clock in self._clocks.items():
            for folder in self._folders(place):
                half = folder not in noted and holds_only(folder, (NOTE, LEFT))
                if half and self._now() - folder.stat().st_mtime > self._keep():
                    shutil.rmtree(folder, ignore_errors=True)
            if not self._folders(place) and linked_part(self._roots[place], place) is None:
                clock.forget()
        return gone

    def _begin(self, place: Path, note: TrashNote) -> tuple[str, TrashNote]:
        """Make an entry with its note; return its key, and the note with the time of the trash's clock.

        Raises OSError, DiskError, also NewerStateError for a clock of a newer lmx.
        """
        refuse_link(self._roots[place], place)
        key = uuid.uuid4().hex[:12]
        (place / key).mkdir(parents=True)
        try:
            note = msgspec.structs.replace(note, seen_at=self._seen(place))
            write_file(place / key / NOTE, STATE.encode(note))
        except (OSError, NewerStateError):
            shutil.rmtree(place / key, ignore_errors=True)
            raise
        return key, note

    def _sweep(self) -> None:
        for place, root in self._roots.items():
            if linked_part(root, place) is None:
                sweep_gone(place)

    def _delete(self, entries: list[tuple[Path, TrashNote]], reason: str) -> list[TrashRow]:
        rows = [self._row(folder, note) for folder, note in entries]
        for folder, note in entries:
            delete_entry(folder)
            LOGGER.info("%s was deleted from the trash (%s) %s", note.id, size(note.size), reason)
        return rows

    def _age(self, folder: Path, note: TrashNote) -> float:
        """Return the time since the removal by the slower clock, or by the trash's if the wall clock was set back."""
        seen, passed = self._seen(folder.parent) - note.seen_at, self._now() - note.removed_at
        return seen if passed < 0 else min(seen, passed)

    def _seen(self, place: Path) -> float:
        entries = ((folder, self._note(folder)) for folder in self._folders(place))
        return self._clocks[place].seconds(max((note.seen_at for _, note in entries if note), default=0.0))

    def _entries(self) -> Iterator[tuple[Path, TrashNote]]:
        for place in self._bins.values():
            for folder in self._folders(place):
                note = self._note(folder)
                if note is not None and os.path.lexists(folder / CONTENT):
                    yield folder, note

    def _folders(self, place: Path) -> list[Path]:
        """Return the folders of entries; none in a trash that is a link, because they are not lmx's."""
        return [] if linked_part(self._roots[place], place) else entry_folders(place)

    def _note(self, folder: Path) -> TrashNote | None:
        """Return the note of an entry; None if it is missing, damaged, or of a newer version."""
        with suppress(NewerStateError):
            return STATE.read(folder / NOTE, loss=f"the removed files are still in {folder / CONTENT}")
        return None

    def _newer(self) -> NewerStateError | None:
        """Return the error of an entry that a newer lmx has made; None if there is none."""
        for place in self._bins.values():
            for folder in self._folders(place):
                try:
                    STATE.read(folder / NOTE)
                except NewerStateError as error:
                    return error
        return None

    def _row(self, folder: Path, note: TrashNote) -> TrashRow:
        return TrashRow(
            key=folder.name,
            id=note.id,
            size=note.size,
            removed_at=note.removed_at,
            purged_at=self._now() + self._keep() - self._age(folder, note),
            revision=note.revision,
        )


def _owner(model: Model) -> str:
    match model.source:
        case "built-in":
            return "it is a part of lmx"
        case "lmstudio":
            return f"it belongs to LM Studio, in {model.path}; remove it there"
        case _:
            return f"it is in your own folder, {model.path}; delete it there"
