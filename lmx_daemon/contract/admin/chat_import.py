"""The structs of chats from elsewhere, which are also the form of an export as JSON."""

from typing import Annotated

from msgspec import Meta

from lmx_daemon.contract.admin.chats import (
    Attachment,
    ChatRole,
    ChatRow,
    ChatSettings,
    Figures,
    Label,
    MessageText,
    Title,
)
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.requests import ToolCall

MAX_IMPORTED = 1000
"""Number of chats in one import."""


class ImportedMessage(Frozen, frozen=True):
    """A message of a chat from elsewhere."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    """Id that is unique in its chat."""
    role: ChatRole
    parent: str | None = None
    text: MessageText = ""
    reasoning: MessageText = ""
    tool_calls: tuple[ToolCall, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    model: str = ""
    figures: Figures | None = None
    at: float = 0.0


class ImportedChat(Frozen, frozen=True):
    """A chat from elsewhere, and the form of an export as JSON. A message follows its parent in `messages`."""

    messages: tuple[ImportedMessage, ...] = ()
    title: Title = ""
    model: str = ""
    settings: ChatSettings = ChatSettings()
    folder: Annotated[str, Meta(max_length=64)] = ""
    tags: tuple[Label, ...] = ()
    pinned: bool = False
    leaf: str | None = None
    created_at: float = 0.0
    changed_at: float = 0.0
    origin: Annotated[str, Meta(max_length=300)] = ""
    """Name of the chat in its source, such as "lmstudio:1718000000.conversation.json". A chat whose origin is present
    already, also in the trash, is not imported again."""


class ChatImport(Frozen, frozen=True):
    """Request to import chats."""

    chats: Annotated[tuple[ImportedChat, ...], Meta(max_length=MAX_IMPORTED)]


class ChatsImported(Frozen, frozen=True):
    """Result of an import."""

    rows: tuple[ChatRow, ...] = ()
    present: int = 0
    """Number of chats that were there already."""
