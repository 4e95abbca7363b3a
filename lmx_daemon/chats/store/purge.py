"""Chats and messages that are deleted for good, so that no byte of their texts stays in the file of chats.

SQLite overwrites deleted rows with zeros. FTS5 only marks deleted words in the index of all texts, until it merges its
segments. Its option `secure-delete` would remove them one by one. That option needs SQLite 3.42, and an older SQLite
cannot read an index that was written with it. All functions run inside a transaction.
"""

import sqlite3

from lmx_daemon.chats.store.messages import remove_chat
from lmx_daemon.chats.store.removals import forget_removals, forget_removals_of

DAY = 86_400.0
MAX_TRASH = 1000
"""Largest number of chats in the trash; older ones are deleted for good."""
SHOWN = "(messages > 0 OR draft <> '' OR title <> '')"
"""Condition of a chat that is listed: one that is not empty."""


def purge_expired(database: sqlite3.Connection, now: float, trash_days: float) -> bool:
    """Remove old chats and messages of the trash, and chats that have been empty for a day.

    Return whether a text was deleted.
    """
    old = database.execute(
        "SELECT number FROM chats WHERE deleted < ? UNION "
        "SELECT number FROM (SELECT number FROM chats WHERE deleted IS NOT NULL ORDER BY deleted DESC "
        "LIMIT -1 OFFSET ?) UNION "
        f"SELECT number FROM chats WHERE changed < ? AND NOT {SHOWN} "
        "AND number NOT IN (SELECT chat FROM removals)",
        (now - trash_days * DAY, MAX_TRASH, now - DAY),
    ).fetchall()
    purged = [purge_chat(database, number) for (number,) in old]
    return forget_removals(database, now - trash_days * DAY) > 0 or any(purged)


def purge_chat(database: sqlite3.Connection, number: int) -> bool:
    """Delete a chat for good, and return whether it had a text."""
    had = database.execute(f"SELECT 1 FROM chats WHERE number = ? AND {SHOWN}", (number,)).fetchone() is not None
    had = forget_removals_of(database, number) > 0 or had
    remove_chat(database, number)
    return had


def purge_index(database: sqlite3.Connection) -> None:
    """Merge the segments of the index into one, which has no deleted words. Takes time in proportion to the index."""
    database.execute("INSERT INTO found (found) VALUES ('optimize')")
