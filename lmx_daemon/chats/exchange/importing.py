"""The import of exported chats: each chat gets new ids, and a damaged tree is repaired."""

from collections.abc import Sequence

import msgspec

from lmx_daemon.chats.store.messages import MAX_MESSAGES
from lmx_daemon.chats.store.store import ChatStore, new_id
from lmx_daemon.contract.admin.chat_import import ChatsImported, ImportedChat
from lmx_daemon.contract.admin.chats import ChatChange, ChatCreate, ChatRow, StoredMessage


def import_chats(store: ChatStore, chats: Sequence[ImportedChat], now: float) -> ChatsImported:
    """Add the chats whose origin is not present yet. Raise DiskError; chats before the failure stay."""
    origins = store.origins()
    rows: list[ChatRow] = []
    present = 0
    for chat in chats:
        if chat.origin and chat.origin in origins:
            present += 1
            continue
        rows.append(_import(store, chat, now))
        origins.add(chat.origin)
    return ChatsImported(rows=tuple(rows), present=present)


def _import(store: ChatStore, chat: ImportedChat, now: float) -> ChatRow:
    asked = ChatCreate(title=chat.title, model=chat.model, settings=chat.settings, folder=chat.folder, tags=chat.tags)
    row = store.create(asked, origin=chat.origin)
    messages, leaf = messages_of(chat, now)
    if messages:
        row = store.add(row.id, messages, leaf=leaf)
    if chat.pinned:
        row = store.change(row.id, ChatChange(pinned=True))
    return store.dated(row.id, chat.created_at or now, chat.changed_at or now)


def messages_of(chat: ImportedChat, now: float) -> tuple[list[StoredMessage], str | None]:
    """Return the messages with new ids, and the id of the leaf.

    A message whose parent does not precede it becomes a child of the message before it. Of two messages with one id,
    the first is kept.
    """
    names: dict[str, str] = {}
    found: list[StoredMessage] = []
    for message in chat.messages[:MAX_MESSAGES]:
        if message.id in names:
            continue
        parent = None if message.parent is None else names.get(message.parent, found[-1].id if found else None)
        names[message.id] = new_id("m")
        found.append(
            StoredMessage(
                id=names[message.id],
                parent=parent,
                role=message.role,
                text=message.text,
                reasoning=message.reasoning,
                tool_calls=message.tool_calls,
                attachments=tuple(
                    msgspec.structs.replace(file, size=len(file.data) or file.size) for file in message.attachments
                ),
                model=message.model,
                figures=message.figures,
                at=message.at or now,
            )
        )
    last = found[-1].id if found else None
    return found, names.get(chat.leaf or "", last or "") or None
