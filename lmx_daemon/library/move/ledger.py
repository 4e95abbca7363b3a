"""The ledger of a move: its folders, and which files at the target are proved. A killed move continues from it."""

import time
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.state import json_of, read_state, write_state

SAVE_SECONDS = 2.0
Stamp = tuple[int, int]
"""Size and st_mtime_ns of a file."""


class MoveRecord(Frozen, frozen=True):
    """Content of the ledger's file."""

    source: str
    target: str
    begun_at: float
    proofs: dict[str, tuple[Stamp, Stamp]] = {}
    """Place of a file -> its stamps at the source and at the target when the copy was proved."""
    damaged: tuple[str, ...] = ()
    """Blobs whose bytes differ from the hash in their name at the source, too."""


class Ledger:
    """The proofs of one move. The thread of the move owns it."""

    def __init__(self, file: Path, record: MoveRecord) -> None:
        self._file = file
        self.record = record
        self._proofs = dict(record.proofs)
        self._saved_at = 0.0

    @property
    def source(self) -> Path:
        """The cache that is moved."""
        return Path(self.record.source)

    @property
    def target(self) -> Path:
        """The folder that the cache is moved to."""
        return Path(self.record.target)

    def note(self, key: str, source: Stamp, target: Stamp, *, damaged: bool = False) -> None:
        """Record a proved copy. It is written now or by the next call of `save`. Raises OSError."""
        self._proofs[key] = source, target
        if damaged and key not in self.record.damaged:
            self.record = msgspec.structs.replace(self.record, damaged=(*self.record.damaged, key))
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def proves(self, key: str, source: Stamp, target: Stamp) -> bool:
        """Return whether the copy was proved, and neither file has changed since."""
        return self._proofs.get(key) == (source, target)

    def save(self) -> None:
        """Write the ledger. Raises OSError."""
        self.record = msgspec.structs.replace(self.record, proofs=dict(self._proofs))
        write_state(self._file, msgspec.json.encode(self.record))
        self._saved_at = time.monotonic()


def read_ledger(file: Path) -> Ledger | None:
    """Return the ledger of an unfinished move; None if there is none, or if it cannot be read."""
    record = read_state(file, json_of(MoveRecord), loss="the next `lmx move` proves all copies again")
    return None if record is None else Ledger(file, record)


def forget_ledger(file: Path) -> None:
    """Delete the ledger of a finished move."""
    with suppress(FileNotFoundError):
        file.unlink()


def stamp_at(path: Path) -> Stamp | None:
    """Return the stamp of a regular file; None if it is absent. Links are not followed."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
