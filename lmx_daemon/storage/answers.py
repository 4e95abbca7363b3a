"""Stored answers of stateful routes, in one SQLite file: bounded in age and in bytes, readable by its owner only.

An answer is stored with its whole conversation, so that it can be continued after older answers are deleted.
Texts are compressed and not encrypted. The file is opened by the first call; all calls block and belong in a thread.
"""

import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lmx_daemon.contract.errors import DiskError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.state import rename_unreadable

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, at REAL NOT NULL, bytes INTEGER NOT NULL,
    conversation BLOB NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (at);
"""
BUSY_SECONDS = 5.0
LOGGER = logging.getLogger("lmx.state")


class AnswerLimits(NamedTuple):
    """Bounds on all stored answers together."""

    seconds: float
    bytes: int


class StoredAnswer(Frozen, frozen=True):
    """An answer that a client may read again or continue."""

    id: str
    owner: str
    """Tenant that may read it."""
    conversation: bytes
    """The conversation that the next turn continues, the answer included, as its dialect encodes it."""
    body: bytes
    """Body of the answer as the client received it."""
    at: float = 0.0


class AnswerStore:
    """The stored answers. `limits` returns the bounds in force."""

    def __init__(self, file: Path, limits: Callable[[], AnswerLimits], clock: Callable[[], float] = time.time) -> None:
        self._file, self._limits, self._clock = file, limits, clock
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._inode = 0

    def put(self, answer: StoredAnswer) -> bool:
        """Store an answer, or replace it; drop what is above the bounds, the oldest first.

        Return whether the answer itself is within the bounds. Raise DiskError.
        """
        conversation, body = zlib.compress(answer.conversation, 1), zlib.compress(answer.body, 1)
        limits = self._limits()
        row = (answer.id, answer.owner, self._clock(), len(conversation) + len(body), conversation, body)
        with self._opened() as database:
            database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)
            database.execute("DELETE FROM answers WHERE at < ?", (self._clock() - limits.seconds,))
            database.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM (SELECT id, SUM(bytes) OVER "
                "(ORDER BY at DESC, id ROWS UNBOUNDED PRECEDING) AS total FROM answers) WHERE total > ?)",
                (limits.bytes,),
            )
            return database.execute("SELECT 1 FROM answers WHERE id = ?", (answer.id,)).fetchone() is not None

    def get(self, identity: str, owner: str) -> StoredAnswer | None:
        """Return the answer of this owner, or None. Raise DiskError."""
        with self._opened() as database:
            row = database.execute(
                "SELECT at, conversation, body FROM answers WHERE id = ? AND owner = ? AND at >= ?",
                (identity, owner, self._clock() - self._limits().seconds),
            ).fetchone()
        if row is None:
            return None
        at, conversation, body = row
        try:
            return StoredAnswer(
                id=identity, owner=owner, conversation=zlib.decompress(conversation), body=zlib.decompress(body), at=at
            )
        except zlib.error:
            LOGGER.warning("the stored answer %s is damaged, and is dropped", identity)
            self.delete(identity, owner)
            return None

    def delete(self, identity: str, owner: str) -> bool:
        """Delete the answer of this owner. Return whether there was one. Raise DiskError."""
        with self._opened() as database:
            return database.execute("DELETE FROM answers WHERE id = ? AND owner = ?", (identity, owner)).rowcount > 0

    def close(self) -> None:
        """Close the file. A later call opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Yield the database inside a transaction. Rename a damaged file. Raise DiskError."""
        with self._lock:
            try:
                if self._database is not None and not self._is_file():
                    self._database.close()
                    self._database = None
                if self._database is None:
                    self._database = self._open()
                    self._inode = os.stat(self._file).st_ino
                with self._database:
                    yield self._database
            except sqlite3.DatabaseError as error:
                if not isinstance(error, sqlite3.OperationalError):
                    self._reset(error)
                raise DiskError(f"stored answers cannot be read or written: {error}", hint="try again") from error
            except OSError as error:
                raise DiskError(f"stored answers cannot be opened: {error.strerror or error}") from error

    def _is_file(self) -> bool:
        """Return whether the open file is still the one at its path. Writes to a deleted file would be lost."""
        try:
            return os.stat(self._file).st_ino == self._inode
        except FileNotFoundError:
            return False

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._reset(error)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(self._file, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = ON")
            database.executescript(SCHEMA)
            database.execute("SELECT COUNT(*) FROM answers")
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _reset(self, error: sqlite3.DatabaseError) -> None:
        """Rename the damaged file, so that the next call creates an empty one."""
        if self._database is not None:
            self._database.close()
            self._database = None
        renamed = rename_unreadable(self._file)
        for suffix in ("-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        kept = f"it is kept as {renamed.name}" if renamed else "it could not be renamed"
        LOGGER.warning("%s cannot be read (%s); %s, and stored answers are lost", self._file, error, kept)
