"""The methods of the client library for chats, one for each route."""

from collections.abc import AsyncIterator
from urllib.parse import quote, urlencode

import msgspec

from lmx_daemon.client.connection import AdminConnection
from lmx_daemon.contract.admin.chat_import import ChatImport, ChatsImported
from lmx_daemon.contract.admin.chats import (
    Append,
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
    ExportForm,
    MessageName,
    RemovalName,
    RemovedMessages,
    StoredMessage,
)

IMPORT_SECONDS = 300.0
SILENCE_SECONDS = 30.0
"""Read timeout of a watched chat. The daemon sends an empty line every 10 seconds."""
UPDATES = msgspec.json.Decoder(ChatUpdate)


class ChatCalls(AdminConnection):
    """The part of Client for chats. Each method raises ChatNotFoundError for an unknown id."""

    async def chats(
        self, *, limit: int = 200, offset: int = 0, deleted: bool = False, tag: str = "", folder: str = ""
    ) -> list[ChatRow]:
        """Return chats, pinned ones first, then the one changed last. `deleted` returns those in the trash."""
        query = {"limit": limit, "offset": offset, "deleted": str(deleted).lower(), "tag": tag, "folder": folder}
        return await self._get(f"/admin/chats?{urlencode(query, errors='replace')}", list[ChatRow])

    async def search_chats(self, words: str, *, limit: int = 50) -> list[ChatRow]:
        """Return the chats whose title or messages have all words, each with a snippet."""
        query = urlencode({"words": words, "limit": limit}, errors="replace")
        return await self._get(f"/admin/chats/search?{query}", list[ChatRow])

    async def chat_prompts(self, *, limit: int = 200) -> list[str]:
        """Return what the user has sent in all chats, the newest first."""
        return await self._get(f"/admin/chats/prompts?limit={limit}", list[str])

    async def find_chat(self, beginning: str) -> str:
        """Return the id of the only chat whose id begins with `beginning`."""
        query = urlencode({"id": beginning}, errors="replace")
        return (await self._get(f"/admin/chats/find?{query}", ChatRow)).id

    async def chat(self, chat: str) -> ChatDetail:
        """Return a chat with all messages of its tree."""
        return await self._get(_path(chat), ChatDetail)

    async def watch_chat(self, chat: str) -> AsyncIterator[ChatUpdate]:
        """Yield the chat, then its changes and the events of its answers."""
        async for line in self._lines("GET", f"{_path(chat)}/watch", read=SILENCE_SECONDS):
            yield UPDATES.decode(line)

    async def create_chat(self, asked: ChatCreate) -> ChatRow:
        return await self._post("/admin/chats", ChatRow, asked)

    async def change_chat(self, chat: str, change: ChatChange) -> ChatRow:
        """Change the fields of a chat that `change` sets."""
        return await self._post(f"{_path(chat)}/change", ChatRow, change)

    async def append_to_chat(self, chat: str, asked: Append) -> tuple[StoredMessage, ...]:
        """Add messages without an answer."""
        return await self._post(f"{_path(chat)}/append", tuple[StoredMessage, ...], asked)

    async def ask_chat(self, chat: str, asked: Ask) -> Asked:
        """Add a user message; the daemon generates its answer. Both are on the disk at the return."""
        return await self._post(f"{_path(chat)}/ask", Asked, asked)

    async def ask_chat_again(self, chat: str, asked: AskAgain) -> Asked:
        """Generate a further answer to a user message, or the rest of an assistant message."""
        return await self._post(f"{_path(chat)}/again", Asked, asked)

    async def edit_message(self, chat: str, asked: EditMessage) -> StoredMessage:
        """Add a copy of a message with another text as a branch beside it."""
        return await self._post(f"{_path(chat)}/edit", StoredMessage, asked)

    async def fork_chat(self, chat: str, message: str) -> ChatRow:
        """Copy the branch that ends at a message to a new chat."""
        return await self._post(f"{_path(chat)}/fork", ChatRow, MessageName(message=message))

    async def remove_messages(self, chat: str, message: str) -> RemovedMessages:
        """Take a message and all that follows it out of a chat."""
        return await self._post(f"{_path(chat)}/messages/remove", RemovedMessages, MessageName(message=message))

    async def restore_messages(self, chat: str, removal: str = "") -> RemovedMessages:
        """Undo a removal of messages, the last one for ""."""
        return await self._post(f"{_path(chat)}/messages/restore", RemovedMessages, RemovalName(removal=removal))

    async def delete_chat(self, chat: str) -> ChatRow:
        """Move a chat to the trash."""
        return await self._post(f"{_path(chat)}/delete", ChatRow)

    async def restore_chat(self, chat: str) -> ChatRow:
        """Take a chat out of the trash."""
        return await self._post(f"{_path(chat)}/restore", ChatRow)

    async def empty_chat_trash(self) -> int:
        """Remove deleted chats for good, and return their number."""
        return await self._post("/admin/chats/trash/empty", int)

    async def export_chat(self, chat: str, form: ExportForm) -> ChatExport:
        """Return the selected branch as Markdown, or the whole chat as JSON."""
        return await self._get(f"{_path(chat)}/export?form={form}", ChatExport)

    async def import_chats(self, asked: ChatImport) -> ChatsImported:
        """Add chats from elsewhere, except those that are there already."""
        return await self._post("/admin/chats/import", ChatsImported, asked, seconds=IMPORT_SECONDS)


def _path(chat: str) -> str:
    return f"/admin/chats/{quote(chat, safe='')}"
