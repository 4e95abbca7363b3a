"""The admin socket's routes for chats."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from lmx_daemon.chats.chats import Chats
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
    EditMessage,
    ExportForm,
    MessageName,
    RemovalName,
    RemovedMessages,
    StoredMessage,
)
from lmx_daemon.http.admin.lines import line, lines
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import body_of

MAX_ROWS = 10_000
"""Number of chats in one answer."""
MAX_OFFSET = 2**31
"""More chats than a file holds, and a number that SQLite accepts."""


@get("/admin/chats")
async def listed(
    chats: NamedDependency[Chats],
    limit: FromQuery[int] = 200,
    offset: FromQuery[int] = 0,
    deleted: FromQuery[bool] = False,
    tag: FromQuery[str] = "",
    folder: FromQuery[str] = "",
) -> list[ChatRow]:
    """Return chats, pinned ones first, then the one changed last."""
    return await chats.listed(
        limit=_bounded(limit), offset=_bounded(offset, MAX_OFFSET), deleted=deleted, tag=tag, folder=folder
    )


@get("/admin/chats/search")
async def search(chats: NamedDependency[Chats], words: FromQuery[str], limit: FromQuery[int] = 50) -> list[ChatRow]:
    """Return the chats whose title or messages have all words."""
    return await chats.search(words, _bounded(limit))


@get("/admin/chats/prompts")
async def prompts(chats: NamedDependency[Chats], limit: FromQuery[int] = 200) -> list[str]:
    """Return what the user has sent in all chats, the newest first."""
    return await chats.prompts(_bounded(limit))


@get("/admin/chats/find")
async def find(chats: NamedDependency[Chats], id: FromQuery[str]) -> ChatRow:
    """Return the only chat whose id begins with `id`."""
    return await chats.find(id)


@post("/admin/chats", status_code=200)
async def create(request: AnyRequest, chats: NamedDependency[Chats]) -> ChatRow:
    """Add an empty chat."""
    return await chats.create(await body_of(request, ChatCreate))


@post("/admin/chats/import", status_code=200)
async def import_all(request: AnyRequest, chats: NamedDependency[Chats]) -> ChatsImported:
    """Add chats from elsewhere, except those that are there already."""
    return await chats.import_all(await body_of(request, ChatImport))


@post("/admin/chats/trash/empty", status_code=200)
async def empty_trash(chats: NamedDependency[Chats]) -> int:
    """Remove deleted chats for good, and return their number."""
    return await chats.empty_trash()


@get("/admin/chats/{chat:str}")
async def detail(chats: NamedDependency[Chats], chat: FromPath[str]) -> ChatDetail:
    """Return a chat with all messages of its tree."""
    return await chats.get(chat)


@get("/admin/chats/{chat:str}/watch")
async def watch(chats: NamedDependency[Chats], chat: FromPath[str]) -> Stream:
    """Stream a chat, then its changes and the events of its answers. Empty lines keep the connection alive."""
    updates = chats.watch(chat)
    first = await anext(updates)

    async def encoded() -> AsyncIterator[bytes]:
        async with aclosing(updates):
            yield line(first)
            async for update in updates:
                yield b"\n" if update is None else line(update)

    return lines(encoded())


@post("/admin/chats/{chat:str}/change", status_code=200)
async def change(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> ChatRow:
    """Change the title, tags, model, settings, draft or selected branch of a chat."""
    return await chats.change(chat, await body_of(request, ChatChange))


@post("/admin/chats/{chat:str}/append", status_code=200)
async def append(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> tuple[StoredMessage, ...]:
    """Add messages without an answer."""
    return await chats.append(chat, await body_of(request, Append))


@post("/admin/chats/{chat:str}/ask", status_code=200)
async def ask(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> Asked:
    """Add a user message and begin to generate its answer."""
    return await chats.ask(chat, await body_of(request, Ask))


@post("/admin/chats/{chat:str}/again", status_code=200)
async def again(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> Asked:
    """Generate a further answer to a user message, or the rest of an assistant message."""
    return await chats.ask_again(chat, await body_of(request, AskAgain))


@post("/admin/chats/{chat:str}/edit", status_code=200)
async def edit(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> StoredMessage:
    """Add a copy of a message with another text as a branch beside it."""
    return await chats.edit(chat, await body_of(request, EditMessage))


@post("/admin/chats/{chat:str}/fork", status_code=200)
async def fork(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> ChatRow:
    """Copy the branch that ends at a message to a new chat."""
    return await chats.fork(chat, (await body_of(request, MessageName)).message)


@post("/admin/chats/{chat:str}/messages/remove", status_code=200)
async def remove_messages(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> RemovedMessages:
    """Take a message and all that follows it out of a chat."""
    return await chats.remove_messages(chat, (await body_of(request, MessageName)).message)


@post("/admin/chats/{chat:str}/messages/restore", status_code=200)
async def restore_messages(request: AnyRequest, chats: NamedDependency[Chats], chat: FromPath[str]) -> RemovedMessages:
    """Undo a removal of messages."""
    return await chats.restore_messages(chat, (await body_of(request, RemovalName)).removal)


@post("/admin/chats/{chat:str}/delete", status_code=200)
async def delete(chats: NamedDependency[Chats], chat: FromPath[str]) -> ChatRow:
    """Move a chat to the trash."""
    return await chats.delete(chat)


@post("/admin/chats/{chat:str}/restore", status_code=200)
async def restore(chats: NamedDependency[Chats], chat: FromPath[str]) -> ChatRow:
    """Take a chat out of the trash."""
    return await chats.restore(chat)


@get("/admin/chats/{chat:str}/export")
async def export(
    chats: NamedDependency[Chats], chat: FromPath[str], form: FromQuery[ExportForm] = "markdown"
) -> ChatExport:
    """Return the selected branch as Markdown, or the whole chat as JSON."""
    return await chats.export(chat, form)


def _bounded(number: int, most: int = MAX_ROWS) -> int:
    return max(0, min(number, most))


ROUTES = [
    listed,
    search,
    prompts,
    find,
    create,
    import_all,
    empty_trash,
    detail,
    watch,
    change,
    append,
    ask,
    again,
    edit,
    fork,
    remove_messages,
    restore_messages,
    delete,
    restore,
    export,
]
