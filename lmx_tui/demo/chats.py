"""DemoChats: the chats of the demonstration, kept in memory, with answers of fixed text."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lmx_daemon.contract.admin.chat_tree import newest_below, path_to
from lmx_daemon.contract.admin.chats import (
    Ask,
    AskAgain,
    Asked,
    ChatChange,
    ChatCreate,
    ChatDetail,
    ChatExport,
    ChatRow,
    ChatUpdate,
    EditMessage,
    StoredMessage,
)
from lmx_daemon.contract.errors import ChatNotFoundError, LmxError, UnsupportedError
from lmx_daemon.contract.generation.events import Failed
from lmx_daemon.contract.models import GUIDE
from lmx_tui.demo.streaming import Streaming

ROW_FIELDS = ("title", "pinned", "folder", "tags", "model")
"""Fields of a change that belong to the row of a chat."""


@dataclass
class DemoChat:
    """A chat and the streams that follow it."""

    detail: ChatDetail
    followers: list[asyncio.Queue[ChatUpdate]] = field(default_factory=list)

    def send(self, update: ChatUpdate) -> None:
        for follower in self.followers:
            follower.put_nowait(update)


class DemoChats:
    """All chats. `changed` is called when the list may have changed."""

    def __init__(self, streaming: Streaming, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self.revision = 0
        self._streaming, self._clock, self._notify = streaming, clock, changed
        self._chats: dict[str, DemoChat] = {}
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- reading ----

    def rows(self, *, deleted: bool = False, words: str = "") -> list[ChatRow]:
        """Return the chats with all words in the title or a message, pinned ones first, then the one changed last."""
        wanted = words.lower().split()
        found = []
        for chat in self._chats.values():
            text = " ".join((chat.detail.row.name, *(message.text for message in chat.detail.messages))).lower()
            if (chat.detail.row.deleted_at is not None) == deleted and all(word in text for word in wanted):
                found.append(chat.detail.row)
        return sorted(found, key=lambda row: (not row.pinned, -row.changed_at))

    def detail(self, identity: str) -> ChatDetail:
        return self._find(identity).detail

    async def watch(self, identity: str) -> AsyncIterator[ChatUpdate]:
        """Yield a chat, then its updates."""
        chat, updates = self._find(identity), asyncio.Queue[ChatUpdate]()
        chat.followers.append(updates)
        try:
            yield ChatUpdate(chat=chat.detail)
            while True:
                yield await updates.get()
        finally:
            chat.followers.remove(updates)

    def export(self, identity: str, form: str) -> ChatExport:
        """Return the selected branch as Markdown. Raise UnsupportedError for the other form."""
        if form != "markdown":
            raise UnsupportedError("the demonstration exports Markdown only", hint="choose Markdown")
        detail = self.detail(identity)
        parts = [f"# {detail.row.name}\n"]
        parts += [f"## {message.role.title()}\n\n{message.text}\n" for message in path_to(detail.messages, detail.leaf)]
        return ChatExport(text="\n".join(parts), name="chat.md")

    # ---- changes ----

    def create(self, asked: ChatCreate) -> ChatRow:
        row = ChatRow(
            id=f"c{next(self._ids)}", title=asked.title, model=asked.model, created_at=self._clock(),
            changed_at=self._clock(),
        )  # fmt: skip
        self._chats[row.id] = DemoChat(ChatDetail(row=row, settings=asked.settings))
        self._changed()
        return row

    def change(self, identity: str, change: ChatChange) -> ChatRow:
        chat = self._find(identity)
        values: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET
        }
        leaf = newest_below(chat.detail.messages, values["leaf"]) if "leaf" in values else chat.detail.leaf
        fields = {name: values.pop(name) for name in ROW_FIELDS if name in values}
        row = msgspec.structs.replace(chat.detail.row, **fields)
        chat.detail = msgspec.structs.replace(chat.detail, **(values | {"row": row, "leaf": leaf}))
        chat.send(ChatUpdate(row=row, leaf=leaf))
        self._changed()
        return row

    def delete(self, identity: str, *, restore: bool = False) -> ChatRow:
        """Move a chat to the trash, or take it out."""
        chat = self._find(identity)
        row = msgspec.structs.replace(chat.detail.row, deleted_at=None if restore else self._clock())
        chat.detail = msgspec.structs.replace(chat.detail, row=row)
        if not restore:
            chat.send(ChatUpdate(gone=True))
        self._changed()
        return row

    def fork(self, identity: str, message: str) -> ChatRow:
        """Copy the branch that ends at a message to a new chat."""
        old = self.detail(identity)
        row = self.create(ChatCreate(title=old.row.title, model=old.row.model, settings=old.settings))
        path = tuple(path_to(old.messages, message))
        chat = self._chats[row.id]
        row = msgspec.structs.replace(row, messages=len(path), first_words=old.row.first_words)
        chat.detail = msgspec.structs.replace(chat.detail, row=row, messages=path, leaf=message)
        return row

    def edit(self, identity: str, asked: EditMessage) -> StoredMessage:
        """Add a copy of a message with another text as a branch beside it."""
        chat = self._find(identity)
        old = _message(chat, asked.message)
        copy = msgspec.structs.replace(old, id=self._message_id(), text=asked.text, at=self._clock())
        self._put(chat, copy)
        return copy

    def ask(self, identity: str, asked: Ask) -> Asked:
        """Add a user message, and begin its answer."""
        chat = self._find(identity)
        parent = chat.detail.leaf if asked.parent is None else asked.parent or None
        user = StoredMessage(
            id=self._message_id(), parent=parent, role="user", text=asked.text, attachments=asked.attachments,
            at=self._clock(),
        )  # fmt: skip
        self._put(chat, user)
        return Asked(answer=self._answer(chat, user.id, asked.model), user=user)

    def ask_again(self, identity: str, asked: AskAgain) -> Asked:
        """Begin a further answer to a user message. Raise UnsupportedError for the continuation of an answer."""
        chat = self._find(identity)
        message = _message(chat, asked.message)
        if message.role != "user":
            raise UnsupportedError("the demonstration continues no answer", hint="r generates another one")
        return Asked(answer=self._answer(chat, message.id, asked.model))

    # ---- answers ----

    def _answer(self, chat: DemoChat, parent: str, model: str) -> StoredMessage:
        model = model or chat.detail.row.model or GUIDE
        number = sum(message.role == "assistant" for message in chat.detail.messages)
        message = StoredMessage(
            id=self._message_id(), parent=parent, role="assistant", state="running", model=model, at=self._clock(),
            request_id=f"tui-{next(self._ids)}",
        )  # fmt: skip
        self._put(chat, message)
        self.change(chat.detail.row.id, ChatChange(model=model))
        task = asyncio.create_task(self._generate(chat, message, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return message

    async def _generate(self, chat: DemoChat, message: StoredMessage, number: int) -> None:
        prompt = sum(len(one.text) for one in path_to(chat.detail.messages, message.id)) // 4 + 12
        answer = self._streaming.answer_of(message, self._clock())
        try:
            async for events in self._streaming.events(message, number, prompt):
                for event in events:
                    answer.consume(event, self._clock())
                self._store(chat, self._streaming.grown(message, answer))
                chat.send(ChatUpdate(answer=message.id, events=events))
        except LmxError as error:
            failed = Failed(id=message.request_id, error=error.body())
            answer.consume(failed, self._clock())
            chat.send(ChatUpdate(answer=message.id, events=(failed,)))
        self._put(chat, self._streaming.grown(message, answer))

    async def close(self) -> None:
        """End the answers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- the tree ----

    def _put(self, chat: DemoChat, message: StoredMessage) -> None:
        """Add a message, which becomes the leaf, or replace the one with its id. Send it to the followers."""
        self._store(chat, message)
        chat.send(ChatUpdate(message=message, row=chat.detail.row, leaf=chat.detail.leaf))
        self._changed()

    def _store(self, chat: DemoChat, message: StoredMessage) -> None:
        detail = chat.detail
        messages = {one.id: one for one in detail.messages}
        leaf = detail.leaf if message.id in messages else message.id
        messages[message.id] = message
        row = msgspec.structs.replace(
            detail.row, messages=len(messages), changed_at=self._clock(), running=message.state == "running",
            first_words=detail.row.first_words or message.text[:60],
        )  # fmt: skip
        chat.detail = msgspec.structs.replace(detail, row=row, messages=tuple(messages.values()), leaf=leaf)

    def _message_id(self) -> str:
        return f"m{next(self._ids)}"

    def _changed(self) -> None:
        self.revision += 1
        self._notify()

    def _find(self, identity: str) -> DemoChat:
        if identity not in self._chats:
            raise ChatNotFoundError(f"there is no chat {identity}")
        return self._chats[identity]


def _message(chat: DemoChat, identity: str) -> StoredMessage:
    found = next((message for message in chat.detail.messages if message.id == identity), None)
    if found is None:
        raise ChatNotFoundError(f"the chat has no message {identity}")
    return found
