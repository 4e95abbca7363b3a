"""Removed models, which can be brought back for a day: whole folders moved aside on the same disk, never copied.

A model of the cache lies in `<cache>/.locks/lmx-trash`, which the Hub's own tools pass over; an imported one under
$LMX_HOME. Only what is lmx's to remove comes here.
"""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import ConflictError, NotFoundError, RequestError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.library import TrashRow
from lmx_daemon.contract.types import Model
from lmx_daemon.library.disk import size_on_disk
from lmx_daemon.library.manifest import sync_folder, write_file

NOTE = "note.json"
CONTENT = "content"


class Note(Frozen, frozen=True):
    """What lies in the trash, and where it was."""

    id: str
    source: str
    path: str
    size: int
    removed_at: float


class Trash:
    def __init__(self, cache: Path, imported: Path, keep_seconds: float) -> None:
        self._bins = {"hub": cache / ".locks" / "lmx-trash", "imported": imported.parent / "trash"}
        self._keep = keep_seconds

    def place_of(self, model: Model) -> Path:
        """Where it would lie. Raises RequestError where it is not lmx's to remove."""
        place = self._bins.get(model.source)
        if place is None:
            raise RequestError(f"{model.id} is not lmx's to remove: {_owner(model)}", param="id")
        return place

    def put(self, model: Model) -> TrashRow:
        """Moves the model's folder aside, all its revisions with it. Raises RequestError where it is not lmx's."""
        place = self.place_of(model)
        folder = Path(model.path)
        whole = folder.parents[1] if model.source == "hub" else folder
        key = uuid.uuid4().hex[:12]
        (place / key).mkdir(parents=True)
        note = Note(id=model.id, source=model.source, path=str(whole), size=size_on_disk(whole), removed_at=time.time())
        write_file(place / key / NOTE, msgspec.json.encode(note))
        os.rename(whole, place / key / CONTENT)
        sync_folder(whole.parent)
        return self._row(key, note)

    def rows(self) -> list[TrashRow]:
        """The last one removed first."""
        found = [self._row(folder.name, note) for folder, note in self._entries()]
        return sorted(found, key=lambda row: -row.removed_at)

    def undo(self, identity: str | None) -> TrashRow:
        """Brings one back. Raises NotFoundError, or ConflictError where something has taken its place."""
        rows = [row for row in self.rows() if identity is None or identity in (row.id, row.key)]
        if not rows:
            raise NotFoundError(
                f"{identity} is not in the trash" if identity else "the trash is empty", hint="`lmx rm --list` shows it"
            )
        folder, note = next((f, n) for f, n in self._entries() if f.name == rows[0].key)
        place = Path(note.path)
        if place.exists():
            raise ConflictError(f"{note.id} is here again, at {place}", hint=f"remove that one first: lmx rm {note.id}")
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder / CONTENT, place)
        sync_folder(place.parent)
        shutil.rmtree(folder, ignore_errors=True)
        return rows[0]

    def purge(self, *, identity: str | None = None, older_than: float | None = None) -> list[TrashRow]:
        """Deletes for good: of one id, or what was removed before the time `older_than`; everything if neither."""
        gone = []
        for folder, note in list(self._entries()):
            if identity not in (None, note.id) or (older_than is not None and note.removed_at > older_than):
                continue
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(self._row(folder.name, note))
        return gone

    def size_beside(self, folder: Path) -> int:
        """Bytes of what lies on the same disk as `folder`, and would go if space were short."""
        disk = folder.stat().st_dev
        return sum(note.size for place, note in self._entries() if place.stat().st_dev == disk)

    def make_room(self, wanted: int, folder: Path) -> None:
        """Deletes the oldest, until so many bytes are free on the disk of `folder`, or nothing is left to delete."""
        for row in sorted(self.rows(), key=lambda row: row.removed_at):
            if shutil.disk_usage(folder).free >= wanted:
                return
            for place in self._bins.values():
                shutil.rmtree(place / row.key, ignore_errors=True)

    def expire(self) -> list[TrashRow]:
        """What has lain here long enough, and what a crash has left half made."""
        for place in self._bins.values():
            for folder in _folders(place):
                if not (folder / CONTENT).exists() and time.time() - folder.stat().st_mtime > self._keep:
                    shutil.rmtree(folder, ignore_errors=True)
        return self.purge(older_than=time.time() - self._keep)

    def _entries(self) -> Iterator[tuple[Path, Note]]:
        for place in self._bins.values():
            for folder in _folders(place):
                try:
                    note = msgspec.json.decode((folder / NOTE).read_bytes(), type=Note)
                except (OSError, msgspec.MsgspecError):
                    continue
                if (folder / CONTENT).exists():
                    yield folder, note

    def _row(self, key: str, note: Note) -> TrashRow:
        return TrashRow(
            key=key, id=note.id, size=note.size, removed_at=note.removed_at, purged_at=note.removed_at + self._keep
        )


def _folders(place: Path) -> list[Path]:
    try:
        return [folder for folder in place.iterdir() if folder.is_dir()]
    except OSError:
        return []


def _owner(model: Model) -> str:
    match model.source:
        case "built-in":
            return "it is a part of lmx"
        case "lmstudio":
            return f"LM Studio has it, in {model.path}; remove it there"
        case _:
            return f"it lies in a folder of yours, {model.path}; delete it there"
