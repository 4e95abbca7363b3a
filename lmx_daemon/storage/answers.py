"""Stored answers of stateful routes, in one SQLite file: bounded in age and in bytes, readable by its owner only.

An answer is stored with its whole conversation, so that it can be continued after older answers are deleted.
Texts are compressed and not encrypted. The file is opened by the first call; all calls block and belong in a thread.
"""

import logging
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.database import Layout, OwnedDatabase

TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, at REAL NOT NULL, bytes INTEGER NOT NULL,
    conversation BLOB NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (at);
"""
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
        self._limits, self._clock = limits, clock
        self._database = OwnedDatabase(file, Layout("stored answers", TABLES, "answers"))

    def put(self, answer: StoredAnswer) -> bool:
        """Store an answer, or replace it; drop what is above the bounds, the oldest first.

        Return whether the answer itself is within the bounds. Raise DiskError.
        """
        conversation, body = zlib.compress(answer.conversation, 1), zlib.compress(answer.body, 1)
        limits = self._limits()
        row = (answer.id, answer.owner, self._clock(), len(conversation) + len(body), conversation, body)
        with self._database.opened() as database:
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
        with self._database.opened() as database:
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
        with self._database.opened() as database:
            return database.execute("DELETE FROM answers WHERE id = ? AND owner = ?", (identity, owner)).rowcount > 0

    def close(self) -> None:
        """Close the file. A later call opens it again."""
        self._database.close()
