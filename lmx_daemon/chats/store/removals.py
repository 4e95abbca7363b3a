"""The trash of messages: each removal takes one message with all that follows it out of a chat, and can be undone.

A removed message keeps its number, so that it returns to its place among its branches and finds its files again. All
functions run inside a transaction of the store.
"""

import sqlite3

from lmx_daemon.chats.store.messages import MAX_MESSAGES, chat_number, read
from lmx_daemon.chats.store.tables import index, one_line_of
from lmx_daemon.contract.admin.chat_tree import below, newest_below
from lmx_daemon.contract.admin.chats import RemovedMessages
from lmx_daemon.contract.errors import ConflictError, NotFoundError, RequestError, TooLargeError

COLUMNS = "number, id, chat, state, text, reasoning, body"


def remove_from(database: sqlite3.Connection, chat: str, message: str, now: float) -> RemovedMessages:
    """Take a message and all that follows it out of a chat. The rest of its branch becomes the selected one.

    Raise NotFoundError for an unknown message, ConflictError while one of the messages is generated.
    """
    number = chat_number(database, chat)
    messages = tuple(read(database, number))
    removed = below(messages, message)
    if not removed:
        raise NotFoundError(f"the chat has no message {message[:80]!r}", param="message")
    if any(each.state == "running" for each in removed):
        raise ConflictError("an answer among these messages is being generated", hint="stop it first")
    leaf = database.execute("SELECT leaf FROM chats WHERE number = ?", (number,)).fetchone()[0]
    removal = database.execute(
        "INSERT INTO removals (chat, message, leaf, at) VALUES (?, ?, ?, ?)", (number, message, leaf, now)
    ).lastrowid
    assert removal is not None
    gone = {each.id for each in removed}
    for identity in gone:
        database.execute(
            f"INSERT INTO removed (removal, {COLUMNS}) SELECT ?, {COLUMNS} FROM messages WHERE id = ?",
            (removal, identity),
        )
        database.execute("DELETE FROM found WHERE rowid = (SELECT number FROM messages WHERE id = ?)", (identity,))
        database.execute("DELETE FROM messages WHERE id = ?", (identity,))
    kept = tuple(each for each in messages if each.id not in gone)
    if leaf in gone:
        parent = removed[0].parent
        roots = [each.id for each in kept if each.parent is None]
        start = parent if parent is not None else roots[-1] if roots else None
        leaf = newest_below(kept, start) if start is not None else None
    _counted(database, number, leaf, now)
    return RemovedMessages(id=str(removal), messages=tuple(each.id for each in removed))


def restore_removed(database: sqlite3.Connection, chat: str, removal: str, now: float) -> RemovedMessages:
    """Undo a removal; "" stands for the last one of the chat. The branch selected before it is selected again.

    Raise NotFoundError for an unknown removal, RequestError if a later removal has taken the message above it.
    """
    number = chat_number(database, chat)
    row = database.execute(
        "SELECT number, message, leaf FROM removals WHERE chat = ? AND (? = '' OR number = ?) ORDER BY number DESC",
        (number, removal, removal),
    ).fetchone()
    if row is None:
        raise NotFoundError(
            "no message of this chat was deleted", param="removal", hint="removed messages are kept for trash_days"
        )
    place, message, leaf = row
    back = database.execute(f"SELECT {COLUMNS} FROM removed WHERE removal = ? ORDER BY number", (place,)).fetchall()
    if (
        database.execute("SELECT messages FROM chats WHERE number = ?", (number,)).fetchone()[0] + len(back)
        > MAX_MESSAGES
    ):
        raise TooLargeError(f"a chat has at most {MAX_MESSAGES} messages", hint="fork it: a fork has one branch")
    for values in back:
        database.execute(f"INSERT INTO messages ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        index(database, values[0], number, values[1], values[4])
    messages = tuple(read(database, number))
    known = {each.id for each in messages}
    if any(each.parent is not None and each.parent not in known for each in messages):
        raise RequestError("the message above it was deleted later", param="removal", hint="restore that one first")
    database.execute("DELETE FROM removed WHERE removal = ?", (place,))
    database.execute("DELETE FROM removals WHERE number = ?", (place,))
    _counted(database, number, leaf if leaf in known else newest_below(messages, message), now)
    return RemovedMessages(id=str(place), messages=tuple(values[1] for values in back))


def forget_removals(database: sqlite3.Connection, before: float) -> int:
    """Delete the messages for good that were removed before the time `before`. Return the number of removals."""
    return _forget_all(database, database.execute("SELECT number FROM removals WHERE at < ?", (before,)).fetchall())


def forget_removals_of(database: sqlite3.Connection, chat: int) -> int:
    """Delete the removed messages of a chat for good, and return the number of removals."""
    return _forget_all(database, database.execute("SELECT number FROM removals WHERE chat = ?", (chat,)).fetchall())


def _forget_all(database: sqlite3.Connection, removals: list[tuple[int]]) -> int:
    for (removal,) in removals:
        _forget(database, removal)
    return len(removals)


def _forget(database: sqlite3.Connection, removal: int) -> None:
    numbers = "SELECT number FROM removed WHERE removal = ?"
    database.execute(f"DELETE FROM attachments WHERE message IN ({numbers})", (removal,))
    database.execute("DELETE FROM removed WHERE removal = ?", (removal,))
    database.execute("DELETE FROM removals WHERE number = ?", (removal,))


def _counted(database: sqlite3.Connection, chat: int, leaf: str | None, now: float) -> None:
    """Update the columns of a chat that depend on its messages: leaf, number, and words of the first message."""
    messages = tuple(read(database, chat))
    first = next((each.text for each in messages if each.role == "user"), "")
    database.execute(
        "UPDATE chats SET leaf = ?, messages = ?, first_words = ?, changed = ? WHERE number = ?",
        (leaf, len(messages), one_line_of(first), now, chat),
    )
