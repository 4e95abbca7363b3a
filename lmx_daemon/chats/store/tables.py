"""The tables of the file of chats, and the forms of their rows.

`found` is the index of all texts: a row with a positive number is a message, one with a negative number is the title of
the chat with that number. An answer is indexed once it has ended. `removed` has the messages that each of the
`removals` has taken out of its chat.
"""

import math
import sqlite3
from typing import Any

import msgspec

from lmx_daemon.contract.admin.chats import ChatRow, ChatSettings, StoredMessage
from lmx_daemon.contract.text import encodable, valid_text
from lmx_daemon.storage.database import Layout

TABLES = """
CREATE TABLE IF NOT EXISTS chats (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL DEFAULT '',
    titled_by TEXT NOT NULL DEFAULT '', first_words TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '',
    pinned INTEGER NOT NULL DEFAULT 0, folder TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL DEFAULT '[]',
    settings TEXT NOT NULL DEFAULT '{}', leaf TEXT, draft TEXT NOT NULL DEFAULT '', created REAL NOT NULL,
    changed REAL NOT NULL, deleted REAL, origin TEXT NOT NULL DEFAULT '', messages INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS chats_by_time ON chats (deleted, pinned, changed);
CREATE INDEX IF NOT EXISTS chats_by_origin ON chats (origin);
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, chat INTEGER NOT NULL, state TEXT NOT NULL,
    text TEXT NOT NULL, reasoning TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_chat ON messages (chat, number);
CREATE INDEX IF NOT EXISTS messages_running ON messages (number) WHERE state = 'running';
CREATE TABLE IF NOT EXISTS attachments (
    message INTEGER NOT NULL, place INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (message, place)
);
CREATE TABLE IF NOT EXISTS removals (
    number INTEGER PRIMARY KEY AUTOINCREMENT, chat INTEGER NOT NULL, message TEXT NOT NULL, leaf TEXT, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS removals_by_chat ON removals (chat, number);
CREATE TABLE IF NOT EXISTS removed (
    removal INTEGER NOT NULL, number INTEGER PRIMARY KEY, id TEXT NOT NULL, chat INTEGER NOT NULL, state TEXT NOT NULL,
    text TEXT NOT NULL, reasoning TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS removed_by_removal ON removed (removal);
CREATE VIRTUAL TABLE IF NOT EXISTS found USING fts5 (
    text, chat UNINDEXED, message UNINDEXED, tokenize = "unicode61 remove_diacritics 2", prefix = '2 3'
);
"""
LAYOUT = Layout("chats", TABLES, "chats")
ROW = (
    "id, title, first_words, model, pinned, folder, tags, created, changed, deleted, messages, "
    "CASE WHEN messages = 0 THEN substr(draft, 1, 80) ELSE '' END"
)
FIRST_WORDS = 80


def row_of(values: tuple[Any, ...]) -> ChatRow:
    """Return the values of ROW as a struct."""
    identity, title, first, model, pinned, folder, tags, created, changed, deleted, messages, draft = values
    return ChatRow(
        id=identity,
        title=title,
        first_words=first or one_line_of(draft),
        model=model,
        pinned=bool(pinned),
        folder=folder,
        tags=_decoded(tags, tuple[str, ...], ()),
        created_at=created,
        changed_at=changed,
        deleted_at=deleted,
        messages=messages,
    )


def settings_of(text: str) -> ChatSettings:
    """Return the settings of a chat; the defaults for a damaged value."""
    found: ChatSettings = _decoded(text, ChatSettings, ChatSettings())
    return found


def message_of(state: str, text: str, reasoning: str, body: str) -> StoredMessage | None:
    """Return the message of a row; None for one with a damaged body, which must not hide the others."""
    found: StoredMessage | None = _decoded(body, StoredMessage, None)
    if found is None:
        return None
    return msgspec.structs.replace(found, state=state, text=text, reasoning=reasoning)


def body_of(message: StoredMessage) -> str:
    """Return a message as JSON without text, reasoning and the contents of its files, which are stored apart."""
    files = tuple(
        msgspec.structs.replace(file, data=b"", size=len(file.data) or file.size) for file in message.attachments
    )
    return encoded(msgspec.structs.replace(message, text="", reasoning="", attachments=files))


def encoded(value: Any) -> str:
    """Return a struct as JSON, with text that every encoder accepts."""
    plain = msgspec.to_builtins(value)
    return msgspec.json.encode(encodable(_finite(plain))).decode()


def one_line_of(text: str, most: int = FIRST_WORDS) -> str:
    """Return the beginning of a text on one line."""
    return " ".join(valid_text(text[: most * 4]).split())[:most]


def index(database: sqlite3.Connection, number: int, chat: int, message: str, text: str) -> None:
    """Enter a text into the index, or replace it."""
    database.execute("DELETE FROM found WHERE rowid = ?", (number,))
    if text.strip():
        row = (number, text, chat, message)
        database.execute("INSERT INTO found (rowid, text, chat, message) VALUES (?, ?, ?, ?)", row)


def _decoded(text: str, kind: Any, otherwise: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError, TypeError):
        return otherwise


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    return [_finite(held) for held in value] if isinstance(value, list | tuple) else value
