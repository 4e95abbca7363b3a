"""The rows of messages and of their files, inside a transaction of the store."""

import sqlite3
from collections.abc import Iterator

from lmx_daemon.chats.store.tables import body_of, index, message_of, one_line_of
from lmx_daemon.contract.admin.chats import StoredMessage
from lmx_daemon.contract.errors import ChatNotFoundError, RequestError
from lmx_daemon.contract.text import valid_text

MAX_MESSAGES = 20_000
"""Largest number of messages of one chat, in all branches."""
MAX_PROMPT = 20_000
"""Length in characters above which a message is not offered to be sent again."""


def chat_number(database: sqlite3.Connection, identity: str) -> int:
    """Return the number of a chat. Raise ChatNotFoundError."""
    found = database.execute("SELECT number FROM chats WHERE id = ?", (valid_text(identity),)).fetchone()
    if found is None:
        raise ChatNotFoundError(
            f"there is no chat {identity[:80]!r}", hint="`lmx chats list` shows the chats and their ids"
        )
    return int(found[0])


def read(database: sqlite3.Connection, chat: int) -> Iterator[StoredMessage]:
    """Yield the messages of a chat, oldest first, without the contents of their files."""
    rows = database.execute("SELECT state, text, reasoning, body FROM messages WHERE chat = ? ORDER BY number", (chat,))
    for row in rows.fetchall():
        if (message := message_of(*row)) is not None:
            yield message


def recent_prompts(database: sqlite3.Connection, limit: int) -> list[str]:
    """Return the user's messages of chats outside the trash, the newest first, except imported ones and long texts.

    The messages are read backwards by their number, so that the time does not grow with the file.
    """
    rows = database.execute(
        "SELECT messages.text FROM messages JOIN chats ON chats.number = messages.chat WHERE deleted IS NULL AND "
        "origin = '' AND length(messages.text) BETWEEN 1 AND ? AND json_extract(body, '$.role') = 'user' "
        "ORDER BY messages.number DESC LIMIT ?",
        (MAX_PROMPT, limit),
    )
    return [text for (text,) in rows.fetchall()]


def add(database: sqlite3.Connection, chat: int, message: StoredMessage) -> None:
    """Add a message. Raise RequestError for an unknown parent."""
    if message.parent is not None and not _exists(database, chat, message.parent):
        raise RequestError(f"the chat has no message {message.parent[:80]!r}", param="parent")
    text = valid_text(message.text)
    number = database.execute(
        "INSERT INTO messages (id, chat, state, text, reasoning, body) VALUES (?, ?, ?, ?, ?, ?)",
        (message.id, chat, message.state, text, valid_text(message.reasoning), body_of(message)),
    ).lastrowid
    assert number is not None
    for place, file in enumerate(message.attachments):
        database.execute("INSERT INTO attachments VALUES (?, ?, ?)", (number, place, file.data))
    if message.state != "running":
        index(database, number, chat, message.id, text)
    first = one_line_of(text) if message.role == "user" else ""
    first_words = "iif(first_words = '', ?, first_words)"
    database.execute(
        f"UPDATE chats SET messages = messages + 1, first_words = {first_words} WHERE number = ?", (first, chat)
    )


def update(database: sqlite3.Connection, message: StoredMessage, now: float) -> bool:
    """Write a message again, and index it once it has ended. Return False if it was deleted."""
    text = valid_text(message.text)
    row = database.execute("SELECT number, chat FROM messages WHERE id = ?", (message.id,)).fetchone()
    if row is None:
        return False
    number, chat = row
    database.execute(
        "UPDATE messages SET state = ?, text = ?, reasoning = ?, body = ? WHERE number = ?",
        (message.state, text, valid_text(message.reasoning), body_of(message), number),
    )
    if message.state != "running":
        index(database, number, chat, message.id, text)
        database.execute("UPDATE chats SET changed = ? WHERE number = ?", (now, chat))
    return True


def remove_chat(database: sqlite3.Connection, number: int) -> None:
    """Delete a chat for good, with its messages, files and texts in the index."""
    database.execute("DELETE FROM attachments WHERE message IN (SELECT number FROM messages WHERE chat = ?)", (number,))
    database.execute("DELETE FROM found WHERE rowid IN (SELECT number FROM messages WHERE chat = ?)", (number,))
    database.execute("DELETE FROM found WHERE rowid = ?", (-number,))
    database.execute("DELETE FROM messages WHERE chat = ?", (number,))
    database.execute("DELETE FROM chats WHERE number = ?", (number,))


def _exists(database: sqlite3.Connection, chat: int, identity: str) -> bool:
    row = database.execute("SELECT 1 FROM messages WHERE id = ? AND chat = ?", (valid_text(identity), chat))
    return row.fetchone() is not None
