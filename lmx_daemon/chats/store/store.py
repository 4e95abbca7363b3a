"""The file of chats: conversations whose messages form a tree, a trash, and an index of all texts.

A transaction is on the disk when its call returns. All calls block and belong in a thread.
"""

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from lmx_daemon.chats.store.messages import MAX_MESSAGES, add, chat_number, read, recent_prompts, update
from lmx_daemon.chats.store.purge import SHOWN, purge_chat, purge_expired, purge_index
from lmx_daemon.chats.store.removals import remove_from, restore_removed
from lmx_daemon.chats.store.search import search_in
from lmx_daemon.chats.store.tables import LAYOUT, ROW, encoded, index, row_of, settings_of
from lmx_daemon.contract.admin.chat_tree import newest_below
from lmx_daemon.contract.admin.chats import (
    Attachment,
    ChatChange,
    ChatCreate,
    ChatDetail,
    ChatRow,
    RemovedMessages,
    StoredMessage,
)
from lmx_daemon.contract.errors import ChatNotFoundError, RequestError, TooLargeError
from lmx_daemon.contract.text import valid_text
from lmx_daemon.storage.database import OwnedDatabase


class ChatStore:
    """The chats. `trash_days` returns the days after which a deleted chat is removed for good."""

    def __init__(
        self, file: Path, trash_days: Callable[[], float] = lambda: 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = OwnedDatabase(file, LAYOUT)
        self._trash_days, self._clock = trash_days, clock
        self._recovered = False
        self._purged = False
        """Whether a text was deleted whose words can still be in the index, or in the log of the file."""

    def listed(
        self, *, limit: int = 200, offset: int = 0, deleted: bool = False, tag: str = "", folder: str = ""
    ) -> list[ChatRow]:
        """Return chats, pinned ones first, then the one changed last. `deleted` returns those in the trash."""
        where, values = f"deleted IS {'NOT ' if deleted else ''}NULL AND {SHOWN}", list[Any]()
        if tag:
            where, values = f"{where} AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)", [tag]
        if folder:
            where, values = f"{where} AND folder = ?", [*values, folder]
        order = "deleted DESC" if deleted else "pinned DESC, changed DESC, number DESC"
        with self._opened() as database:
            rows = database.execute(
                f"SELECT {ROW} FROM chats WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?", [*values, limit, offset]
            ).fetchall()
        return [row_of(row) for row in rows]

    def search(self, words: str, limit: int = 50) -> list[ChatRow]:
        """Return the chats with a title or a message that has all `words`, the best first, each with a snippet."""
        with self._opened() as database:
            return search_in(database, words, limit)

    def row(self, identity: str) -> ChatRow:
        """Return the row of a chat. Raise ChatNotFoundError."""
        with self._opened() as database:
            return self._row(database, chat_number(database, identity))

    def get(self, identity: str) -> ChatDetail:
        """Return a chat with its messages, without the contents of their files. Raise ChatNotFoundError."""
        with self._opened() as database:
            number = chat_number(database, identity)
            settings, leaf, draft = database.execute(
                "SELECT settings, leaf, draft FROM chats WHERE number = ?", (number,)
            ).fetchone()
            messages = tuple(read(database, number))
            row = self._row(database, number)
        return ChatDetail(row=row, settings=settings_of(settings), messages=messages, leaf=leaf, draft=draft)

    def find(self, beginning: str) -> ChatRow:
        """Return the chat whose id begins with `beginning`. Raise ChatNotFoundError, also for several."""
        with self._opened() as database:
            found = database.execute(
                f"SELECT {ROW} FROM chats WHERE substr(id, 1, ?) = ? LIMIT 2", (len(beginning), beginning)
            ).fetchall()
        if len(found) != 1 or not beginning:
            raise no_chat(beginning, "several chats begin with that id" if len(found) > 1 else None)
        return row_of(found[0])

    def files(self, message: StoredMessage) -> tuple[Attachment, ...]:
        """Return the files of a message with their contents."""
        if not message.attachments:
            return ()
        with self._opened() as database:
            rows = database.execute(
                "SELECT place, data FROM attachments JOIN messages ON message = messages.number WHERE id = ?",
                (message.id,),
            ).fetchall()
        held = dict(rows)
        return tuple(
            msgspec.structs.replace(file, data=held.get(place, b"")) for place, file in enumerate(message.attachments)
        )

    def prompts(self, limit: int) -> list[str]:
        """Return what the user has sent in chats outside the trash, the newest first, except imported messages."""
        with self._opened() as database:
            return recent_prompts(database, limit)

    def create(self, asked: ChatCreate, *, identity: str = "", origin: str = "") -> ChatRow:
        """Add an empty chat."""
        identity, now = identity or new_id("c"), self._clock()
        values = (
            identity, valid_text(asked.title), "user" if asked.title else "", asked.model, asked.folder,
            encoded(asked.tags), encoded(asked.settings), now, now, origin,
        )  # fmt: skip
        with self._opened() as database:
            number = database.execute(
                "INSERT INTO chats (id, title, titled_by, model, folder, tags, settings, created, changed, origin) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
            assert number is not None
            index(database, -number, number, "", asked.title)
            self._prune(database)
            return self._row(database, number)

    def change(self, identity: str, change: ChatChange, *, titled_by: str = "user") -> ChatRow:
        """Change the fields of a chat that `change` sets. Raise ChatNotFoundError."""
        columns: dict[str, Any] = {}
        for name in ("pinned", "folder", "model", "draft", "title"):
            if (value := getattr(change, name)) is not msgspec.UNSET:
                columns[name] = valid_text(value) if isinstance(value, str) else value
        for name in ("tags", "settings"):
            if (value := getattr(change, name)) is not msgspec.UNSET:
                columns[name] = encoded(value)
        if "title" in columns:
            columns["titled_by"] = titled_by if columns["title"] else ""
        with self._opened() as database:
            number = chat_number(database, identity)
            if isinstance(change.leaf, str):
                columns["leaf"] = self._leaf(database, number, change.leaf)
            if columns:
                names = ", ".join(f"{name} = ?" for name in columns)
                database.execute(f"UPDATE chats SET {names} WHERE number = ?", [*columns.values(), number])
            if "title" in columns:
                index(database, -number, number, "", columns["title"])
            return self._row(database, number)

    def add(
        self, identity: str, messages: list[StoredMessage], *, leaf: str | None = None, draft: str | None = None
    ) -> ChatRow:
        """Add messages whose parents are present. The last one, or `leaf`, becomes the leaf of the chat.

        Raise ChatNotFoundError, TooLargeError for a chat with too many messages, RequestError for an unknown parent.
        """
        with self._opened() as database:
            number = chat_number(database, identity)
            count = database.execute("SELECT messages FROM chats WHERE number = ?", (number,)).fetchone()[0]
            if count + len(messages) > MAX_MESSAGES:
                raise TooLargeError(
                    f"a chat has at most {MAX_MESSAGES} messages", hint="fork it: a fork has one branch"
                )
            for message in messages:
                add(database, number, message)
            database.execute(
                "UPDATE chats SET leaf = ?, changed = ?, draft = coalesce(?, draft) WHERE number = ?",
                (leaf or messages[-1].id, self._clock(), draft, number),
            )
            return self._row(database, number)

    def remove_messages(self, identity: str, message: str) -> RemovedMessages:
        """Take a message and all that follows it out of a chat. For errors, see `remove_from`."""
        with self._opened() as database:
            return remove_from(database, identity, message, self._clock())

    def restore_messages(self, identity: str, removal: str) -> RemovedMessages:
        """Undo a removal; "" stands for the last one. For errors, see `restore_removed`."""
        with self._opened() as database:
            return restore_removed(database, identity, removal, self._clock())

    def dated(self, identity: str, created: float, changed: float) -> ChatRow:
        """Set the times of an imported chat, and return its row."""
        with self._opened() as database:
            number = chat_number(database, identity)
            database.execute("UPDATE chats SET created = ?, changed = ? WHERE number = ?", (created, changed, number))
            return self._row(database, number)

    def update(self, message: StoredMessage) -> bool:
        """Write the text, state and figures of a message again. Return False if it was deleted."""
        with self._opened() as database:
            return update(database, message, self._clock())

    def delete(self, identity: str) -> ChatRow:
        """Move a chat to the trash."""
        return self._set_deleted(identity, self._clock())

    def restore(self, identity: str) -> ChatRow:
        """Take a chat out of the trash."""
        return self._set_deleted(identity, None)

    def empty_trash(self) -> int:
        """Remove the chats in the trash for good, and return their number."""
        with self._opened() as database:
            numbers = database.execute("SELECT number FROM chats WHERE deleted IS NOT NULL").fetchall()
            for (number,) in numbers:
                self._purged = purge_chat(database, number) or self._purged
        return len(numbers)

    def origins(self) -> set[str]:
        """Return the origins of imported chats, and the origin that exports of each chat state; with the trash."""
        with self._opened() as database:
            rows = database.execute("SELECT origin, id FROM chats").fetchall()
        return {origin for origin, _ in rows if origin} | {f"lmx:{identity}" for _, identity in rows}

    def untitled(self, limit: int = 20) -> list[str]:
        """Return the ids of chats without a title that have an answer, the one changed last first."""
        with self._opened() as database:
            rows = database.execute(
                "SELECT id FROM chats WHERE titled_by = '' AND deleted IS NULL AND messages >= 2 "
                "ORDER BY changed DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [row[0] for row in rows]

    def close(self) -> None:
        """Close the file. A later call opens it again."""
        self._database.close()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if not self._recovered:
            with self._database.opened() as database:
                self._recover(database)
            self._recovered = True
            self._database.empty_log()  # a former daemon may have been killed before it did so
        with self._database.opened() as database:
            yield database
            if self._purged:
                purge_index(database)
        if self._purged:
            self._purged = False
            self._database.empty_log()

    def _recover(self, database: sqlite3.Connection) -> None:
        """Mark and index the answers whose generation a former daemon did not finish."""
        for number, chat, identity, text in database.execute(
            "SELECT number, chat, id, text FROM messages WHERE state = 'running'"
        ).fetchall():
            database.execute("UPDATE messages SET state = 'interrupted' WHERE number = ?", (number,))
            index(database, number, chat, identity, text)
        self._prune(database)

    def _set_deleted(self, identity: str, deleted: float | None) -> ChatRow:
        with self._opened() as database:
            number = chat_number(database, identity)
            database.execute("UPDATE chats SET deleted = ? WHERE number = ?", (deleted, number))
            self._prune(database)
            return self._row(database, number)

    def _row(self, database: sqlite3.Connection, number: int) -> ChatRow:
        return row_of(database.execute(f"SELECT {ROW} FROM chats WHERE number = ?", (number,)).fetchone())

    def _leaf(self, database: sqlite3.Connection, number: int, message: str) -> str:
        messages = tuple(read(database, number))
        if not any(found.id == message for found in messages):
            raise RequestError(f"the chat has no message {message[:80]!r}", param="leaf")
        return newest_below(messages, message)

    def _prune(self, database: sqlite3.Connection) -> None:
        self._purged = purge_expired(database, self._clock(), self._trash_days()) or self._purged


def new_id(letter: str) -> str:
    """Return a new id: a letter for its kind, and twelve random hexadecimal digits."""
    return letter + uuid.uuid4().hex[:12]


def no_chat(identity: str, reason: str | None = None) -> ChatNotFoundError:
    """Return the error of an unknown id."""
    return ChatNotFoundError(
        f"there is no chat {identity[:80]!r}", hint=reason or "`lmx chats list` shows the chats and their ids"
    )
