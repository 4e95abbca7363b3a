"""SQLite files that lmx owns: readable by their owner only, opened by the first call, renamed when they are damaged.

All calls block and belong in a thread. What a file contains is the matter of its user.
"""

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from lmx_daemon.contract.errors import DiskError
from lmx_daemon.storage.durable import open_regular
from lmx_daemon.storage.failed_write import remedy
from lmx_daemon.storage.state import rename_unreadable
from lmx_daemon.storage.versions import newer_state

BUSY_SECONDS = 5.0
LOGGER = logging.getLogger("lmx.state")


class Layout(NamedTuple):
    """The tables of one file, and how it is written."""

    content: str
    """Name of the content in errors, such as "stored answers"."""
    script: str
    """Statements that create missing tables."""
    table: str
    """Table that a check at the opening reads."""
    columns: dict[str, str] = {}
    """Columns of `table` that later versions added, with their types; a file without them gets them."""
    version: int = 1
    """Version of the tables. An older file is copied before it is changed, and one of a newer lmx is refused."""
    survives_power_cut: bool = True
    """Whether a transaction is on the disk when it ends. Without it, a power cut may lose the last ones."""


DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_damage(error: sqlite3.Error) -> bool:
    """Return whether the file is damaged. A fault of a statement or of a value must not displace a good file."""
    return _code_of(error) in DAMAGE


def _code_of(error: sqlite3.Error) -> int:
    """Return the primary code of SQLite; 0 for an error of the module itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class OwnedDatabase:
    """SQLite file. Threads may share it; their transactions follow each other."""

    def __init__(self, file: Path, layout: Layout) -> None:
        self.file = file
        self._layout = layout
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._inode = 0

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Yield the database inside a transaction. Rename a damaged file, refuse a newer one. Raise DiskError."""
        content = self._layout.content
        with self._lock:
            try:
                if self._database is not None and not self._is_file():
                    self._database.close()
                    self._database = None
                if self._database is None:
                    self._database = self._open()
                    self._inode = os.stat(self.file).st_ino
                with self._database:
                    yield self._database
            except sqlite3.Error as error:
                if _is_damage(error):
                    self._reset(error)
                full = _code_of(error) == sqlite3.SQLITE_FULL
                hint = remedy(self.file, OSError(errno.ENOSPC, str(error))) if full else "try again"
                raise DiskError(f"{content} cannot be read or written: {error}", hint=hint) from error
            except OSError as error:
                raise DiskError(
                    f"{content} cannot be opened: {self.file} {error.strerror or error}", hint="move it away"
                ) from error

    def empty_log(self) -> None:
        """Move the write-ahead log into the file, and cut it to nothing: it has old contents of changed rows.

        If another program reads the file, the log stays until the next call.
        """
        with self._lock:
            if self._database is not None:
                try:
                    self._database.execute("PRAGMA wal_checkpoint (TRUNCATE)").fetchone()
                except sqlite3.Error as error:
                    LOGGER.warning("the log of %s was not emptied: %s", self.file, error)

    def close(self) -> None:
        """Close the file. A later call opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _is_file(self) -> bool:
        """Return whether the open file is still the one at its path. Writes to a deleted file would be lost."""
        try:
            return os.stat(self.file).st_ino == self._inode
        except FileNotFoundError:
            return False

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._reset(error)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        layout = self._layout
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(open_regular(self.file, os.O_RDWR | os.O_CREAT))  # SQLite would read a FIFO
        database = sqlite3.connect(self.file, timeout=BUSY_SECONDS, check_same_thread=False)
        database.text_factory = lambda content: content.decode(errors="replace")  # a damaged text fails no query
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA synchronous = {'FULL' if layout.survives_power_cut else 'NORMAL'}")
            database.execute("PRAGMA secure_delete = ON")
            found = database.execute("PRAGMA user_version").fetchone()[0]
            if found > layout.version:
                raise newer_state(self.file, found, layout.version)
            before = max(1, found)  # files of before the versions have the tables of version 1
            if before < layout.version and database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                self._keep_copy(database, before)
            database.executescript(layout.script)
            database.execute(f"SELECT COUNT(*) FROM {layout.table}")
            present = {row[1] for row in database.execute(f"PRAGMA table_info({layout.table})")}
            for name, kind in layout.columns.items():
                if name not in present:
                    database.execute(f"ALTER TABLE {layout.table} ADD COLUMN {name} {kind}")
            if found != layout.version:
                database.execute(f"PRAGMA user_version = {layout.version}")
        except (sqlite3.Error, OSError, DiskError):
            database.close()
            raise
        return database

    def _keep_copy(self, database: sqlite3.Connection, version: int) -> None:
        """Write a copy of the file, as it is before its tables change. Raises OSError, sqlite3.Error."""
        copy = self.file.with_name(f"{self.file.name}.v{version}")
        copy.unlink(missing_ok=True)
        os.close(open_regular(copy, os.O_RDWR | os.O_CREAT))
        with closing(sqlite3.connect(copy)) as target:
            database.backup(target)
        LOGGER.info("%s has version %d and is changed; %s is kept", self.file, version, copy.name)

    def _reset(self, error: Exception) -> None:
        """Rename the damaged file, so that the next call creates an empty one."""
        if self._database is not None:
            self._database.close()
            self._database = None
        renamed = rename_unreadable(self.file)
        for suffix in ("-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
        kept = f"it is kept as {renamed.name}" if renamed else "it could not be renamed"
        LOGGER.warning("%s cannot be read (%s); %s, and %s are lost", self.file, error, kept, self._layout.content)
