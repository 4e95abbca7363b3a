"""The structs of conversations that the daemon keeps: chats, their messages as a tree, changes and exports.

A message has a parent, so that several messages with one parent are branches. The `leaf` of a chat is the last message
of its selected branch. Times are wall-clock seconds.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.requests import Sampling, ToolCall

MAX_TITLE = 200
MAX_TEXT = 4 * 1024 * 1024
"""Number of characters of one message."""
MAX_ATTACHMENT = 20 * 1024 * 1024
"""Number of bytes of one attachment."""
MAX_ATTACHMENTS = 32
Title = Annotated[str, Meta(max_length=MAX_TITLE)]
MessageText = Annotated[str, Meta(max_length=MAX_TEXT)]
Label = Annotated[str, Meta(min_length=1, max_length=64)]
ChatRole = Literal["user", "assistant", "system", "tool"]
MessageState = Literal["done", "running", "stopped", "failed", "interrupted"]
"""State of a message. "interrupted": the daemon ended while the answer was generated; its text so far is kept."""
ExportForm = Literal["markdown", "json"]


class Attachment(Frozen, frozen=True):
    """File of a message. A text is part of the prompt as text, an image as an image."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    media_type: Annotated[str, Meta(max_length=100)] = "text/plain"
    data: Annotated[bytes, Meta(max_length=MAX_ATTACHMENT)] = b""
    """Content; b"" where a chat is listed without contents."""
    size: int = 0

    @property
    def is_image(self) -> bool:
        return self.media_type.startswith("image/")


class Figures(Frozen, frozen=True):
    """Measured figures of an answer."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    tokens: int = 0
    context_length: int = 0
    first_token: float | None = None
    """Seconds from the request to the first token (TTFT)."""
    rate: float | None = None
    """Tokens per second of the decode."""
    thinking_seconds: float | None = None
    miss: str = ""
    """Reason for a prefix cache miss."""
    first_difference: int | None = None
    """Index of the first prompt token that differs from the nearest stored prefix."""
    truncated: bool = False
    """Whether the answer reached the maximum length."""
    seed: int | None = None


class StoredMessage(Frozen, frozen=True):
    """Message of a chat."""

    id: str
    parent: str | None
    """Id of the message before it; None for a first message."""
    role: ChatRole
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    state: MessageState = "done"
    model: str = ""
    """Model that generated the message."""
    request_id: str = ""
    """Id of the request that generates, or generated, the message."""
    figures: Figures | None = None
    error: ErrorBody | None = None
    at: float = 0.0


class ChatSettings(Frozen, frozen=True):
    """Values for the requests of a chat. None leaves a value to the preset, else to the model."""

    system: Annotated[str, Meta(max_length=200_000)] | None = None
    sampling: Sampling = Sampling()
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    thinking: bool | None = None
    preset: str = ""


class ChatRow(Frozen, frozen=True):
    """A chat as it is listed."""

    id: str
    title: str = ""
    """Title; "" while neither the user nor a model has given one."""
    first_words: str = ""
    """Beginning of the first message, which stands for a missing title."""
    model: str = ""
    pinned: bool = False
    folder: str = ""
    tags: tuple[str, ...] = ()
    created_at: float = 0.0
    changed_at: float = 0.0
    deleted_at: float | None = None
    messages: int = 0
    running: bool = False
    """Whether an answer is being generated."""
    snippet: str = ""
    """Text around the words that a search has found, on one line."""
    found: str = ""
    """Id of the message that a search has found; "" for a title."""

    @property
    def name(self) -> str:
        """Title, else the first words of the chat."""
        return self.title or self.first_words or "empty chat"


class ChatDetail(Frozen, frozen=True):
    """A chat with all messages of its tree, oldest first."""

    row: ChatRow
    settings: ChatSettings = ChatSettings()
    messages: tuple[StoredMessage, ...] = ()
    leaf: str | None = None
    draft: str = ""
    """Text that a client has begun and not sent."""


class ChatCreate(Frozen, frozen=True):
    """Request for a new chat."""

    title: Title = ""
    model: str = ""
    settings: ChatSettings = ChatSettings()
    folder: Annotated[str, Meta(max_length=64)] = ""
    tags: Annotated[tuple[Label, ...], Meta(max_length=32)] = ()


class ChatChange(Frozen, frozen=True):
    """Change of a chat. A field that is not set stays as it is."""

    title: Title | msgspec.UnsetType = msgspec.UNSET
    pinned: bool | msgspec.UnsetType = msgspec.UNSET
    folder: Annotated[str, Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    tags: Annotated[tuple[Label, ...], Meta(max_length=32)] | msgspec.UnsetType = msgspec.UNSET
    model: str | msgspec.UnsetType = msgspec.UNSET
    settings: ChatSettings | msgspec.UnsetType = msgspec.UNSET
    draft: MessageText | msgspec.UnsetType = msgspec.UNSET
    leaf: str | msgspec.UnsetType = msgspec.UNSET
    """Message whose branch is selected. The newest message below it becomes the leaf."""


class NewMessage(Frozen, frozen=True):
    """A message to add to a chat without an answer."""

    role: ChatRole
    text: MessageText = ""
    reasoning: MessageText = ""
    tool_calls: tuple[ToolCall, ...] = ()
    attachments: Annotated[tuple[Attachment, ...], Meta(max_length=MAX_ATTACHMENTS)] = ()
    model: str = ""


class Append(Frozen, frozen=True):
    """Request to add messages, each below the one before it."""

    messages: Annotated[tuple[NewMessage, ...], Meta(min_length=1, max_length=1000)]
    parent: str | None = None
    """Message above the first one; None is the leaf of the chat, "" is the root."""


class Ask(Frozen, frozen=True):
    """Request to add a user message and to generate its answer."""

    text: MessageText
    attachments: Annotated[tuple[Attachment, ...], Meta(max_length=MAX_ATTACHMENTS)] = ()
    parent: str | None = None
    """Message above it; None is the leaf of the chat, "" is the root. Another parent than the leaf makes a branch."""
    model: str = ""
    """Model that answers; "" is the model of the chat."""
    client: str = ""
    tenant: Annotated[str, Meta(max_length=64)] = "local"


class AskAgain(Frozen, frozen=True):
    """Request to generate an answer without a new user message."""

    message: str
    """A user message gets a further answer. The answer of an assistant message is continued in place."""
    model: str = ""
    client: str = ""
    tenant: Annotated[str, Meta(max_length=64)] = "local"


class EditMessage(Frozen, frozen=True):
    """Request for a copy of a message with another text, as a branch beside it."""

    message: str
    text: MessageText


class MessageName(Frozen, frozen=True):
    """Id of a message."""

    message: str


class RemovalName(Frozen, frozen=True):
    """Id of a removal of messages; "" is the last one of the chat."""

    removal: str = ""


class RemovedMessages(Frozen, frozen=True):
    """Messages that were taken out of a chat together, or put back."""

    id: str
    messages: tuple[str, ...]
    """Ids of the messages."""


class Asked(Frozen, frozen=True):
    """The messages that a request for an answer has added or continued."""

    answer: StoredMessage
    user: StoredMessage | None = None


class ChatUpdate(Frozen, frozen=True):
    """Line of the stream of one chat.

    The first line has `chat`, and so has the line after messages were removed or put back. Other lines have either a
    message that is new or has changed as a whole, or events of the answer `answer`, in order, or a changed row. `gone`
    ends the stream of a deleted chat.
    """

    chat: ChatDetail | None = None
    message: StoredMessage | None = None
    answer: str = ""
    events: tuple[Event, ...] = ()
    row: ChatRow | None = None
    leaf: str | None = None
    gone: bool = False


class ChatExport(Frozen, frozen=True):
    """A chat as text."""

    text: str
    name: str
    """Suggested name of a file."""
