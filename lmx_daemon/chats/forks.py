"""Copies of branches as new chats. All calls block and belong in a thread."""

import msgspec

from lmx_daemon.chats.store.store import ChatStore, new_id
from lmx_daemon.contract.admin.chats import ChatCreate, ChatRow, StoredMessage


def copy_branch(store: ChatStore, asked: ChatCreate, path: list[StoredMessage]) -> ChatRow:
    """Create a chat with copies of messages, each below the one before it.

    An unfinished answer is copied in its current state.
    """
    row, parent, copies = store.create(asked), None, []
    for message in path:
        state = "interrupted" if message.state == "running" else message.state
        files = store.files(message)
        copies.append(msgspec.structs.replace(message, id=new_id("m"), parent=parent, state=state, attachments=files))
        parent = copies[-1].id
    return store.add(row.id, copies)
