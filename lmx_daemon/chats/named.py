"""Messages and models that requests for chats name. Pure."""

import msgspec

from lmx_daemon.chats.store.store import new_id
from lmx_daemon.contract.admin.chats import ChatDetail, NewMessage, StoredMessage
from lmx_daemon.contract.errors import NotFoundError, RequestError


def new_message(new: NewMessage, parent: str | None, at: float) -> StoredMessage:
    """Return a message that a client adds."""
    return StoredMessage(
        id=new_id("m"), parent=parent, role=new.role, text=new.text, reasoning=new.reasoning,
        tool_calls=new.tool_calls, attachments=new.attachments, model=new.model, at=at,
    )  # fmt: skip


def new_answer(parent: str, model: str, at: float) -> StoredMessage:
    """Return an empty answer with the id of the request that generates it."""
    return StoredMessage(
        id=new_id("m"), parent=parent, role="assistant", state="running", model=model, request_id=new_request_id(),
        at=at,
    )  # fmt: skip


def new_request_id() -> str:
    """Return the id of a request for an answer of a chat."""
    return f"chat-{new_id('')}"


def known(chat: ChatDetail, message: str) -> StoredMessage:
    """Return the message with this id. Raises NotFoundError."""
    found = next((each for each in chat.messages if each.id == message), None)
    if found is None:
        raise unknown_message(message)
    return found


def unknown_message(message: str) -> NotFoundError:
    """Return the error of an id that no message of the chat has."""
    return NotFoundError(f"the chat has no message {message[:80]!r}", param="message")


def parent_of(chat: ChatDetail, parent: str | None) -> str | None:
    """Return the id of a message's parent: the leaf if `parent` is None, no parent if it is ""."""
    if parent is None:
        return chat.leaf
    return known(chat, parent).id if parent else None


def model_of(chat: ChatDetail, model: str) -> str:
    """Return the model that answers: `model`, else that of the chat. Raises RequestError if there is none."""
    chosen = model or chat.row.model
    if not chosen:
        raise RequestError("the chat has no model yet", param="model", hint="name the model that answers")
    return chosen


def without_contents(message: StoredMessage) -> StoredMessage:
    """Return a message without the contents of its files."""
    files = tuple(
        msgspec.structs.replace(file, data=b"", size=len(file.data) or file.size) for file in message.attachments
    )
    return msgspec.structs.replace(message, attachments=files)
