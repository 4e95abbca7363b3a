"""The chats as routes read them: lists, searches, and chats with their growing messages as they are now."""

import asyncio
from functools import partial

import msgspec

from lmx_daemon.chats.answers import ChatAnswers
from lmx_daemon.chats.exchange.export import exported
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.contract.admin.chats import Attachment, ChatDetail, ChatExport, ChatRow, ExportForm, StoredMessage


class ChatReads:
    """The part of Chats that only reads. The file is accessed in threads."""

    def __init__(self, store: ChatStore, answers: ChatAnswers) -> None:
        self._store, self._answers = store, answers

    async def listed(
        self, *, limit: int, offset: int = 0, deleted: bool = False, tag: str = "", folder: str = ""
    ) -> list[ChatRow]:
        """Return chats, pinned ones first, then the one changed last."""
        call = partial(self._store.listed, limit=limit, offset=offset, deleted=deleted, tag=tag, folder=folder)
        return self._with_running(await asyncio.to_thread(call))

    async def search(self, words: str, limit: int) -> list[ChatRow]:
        """Return the chats whose title or messages have all `words`."""
        return self._with_running(await asyncio.to_thread(self._store.search, words, limit))

    async def get(self, identity: str) -> ChatDetail:
        """Return a chat with its messages as they are now. Raise ChatNotFoundError."""
        return self._as_now(await asyncio.to_thread(self._store.get, identity))

    async def untitled(self) -> list[str]:
        """Return the ids of chats that have an answer and no title."""
        return await asyncio.to_thread(self._store.untitled)

    async def find(self, beginning: str) -> ChatRow:
        """Return the only chat whose id begins with `beginning`. Raise ChatNotFoundError."""
        return await asyncio.to_thread(self._store.find, beginning)

    async def prompts(self, limit: int) -> list[str]:
        """Return what the user has sent in chats outside the trash, the newest first."""
        return await asyncio.to_thread(self._store.prompts, limit)

    async def export(self, identity: str, form: ExportForm) -> ChatExport:
        """Return a chat as Markdown or JSON."""
        chat = await self.get(identity)
        return await asyncio.to_thread(lambda: exported(chat, self._files(chat.messages), form))

    def _files(self, messages: tuple[StoredMessage, ...]) -> dict[str, tuple[Attachment, ...]]:
        return {message.id: self._store.files(message) for message in messages if message.attachments}

    def _as_now(self, chat: ChatDetail) -> ChatDetail:
        """Return a chat with its growing and unwritten messages as they are in memory."""
        newer = self._answers.newer(chat.row.id)
        row = msgspec.structs.replace(chat.row, running=bool(self._answers.of(chat.row.id)))
        messages = tuple(newer.get(message.id, message) for message in chat.messages)
        return msgspec.structs.replace(chat, row=row, messages=messages)

    def _with_running(self, rows: list[ChatRow]) -> list[ChatRow]:
        running = self._answers.chats()
        return [msgspec.structs.replace(row, running=True) if row.id in running else row for row in rows]

    def _running(self, row: ChatRow) -> ChatRow:
        return self._with_running([row])[0]
