"""All messages of the TUI, and the View that screens draw. Requests go up to the app; facts come from the feed.

This module contains no behaviour.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from textual.message import Message

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.models import Model

ConnectionState = Literal["connecting", "online", "offline"]


@dataclass(frozen=True)
class Connection:
    """State of the connection to the daemon."""

    state: ConnectionState = "connecting"
    error: ErrorBody | None = None
    retry_at: float | None = None
    """Time of the next attempt on the app's clock; None during an attempt."""


@dataclass(frozen=True)
class View:
    """Everything that a screen draws: the last snapshot, the connection, and the time (seconds on the app's clock)."""

    snapshot: Snapshot | None = None
    connection: Connection = Connection()
    arrived: float = 0.0
    """Time at which the snapshot arrived."""
    now: float = 0.0
    notice: str = ""
    """Line that every screen shows, for example about different versions of daemon and client."""

    @property
    def online(self) -> bool:
        return self.connection.state == "online"

    @property
    def age(self) -> float:
        return max(0.0, self.now - self.arrived)

    @property
    def retry_in(self) -> float | None:
        return None if self.connection.retry_at is None else max(0.0, self.connection.retry_at - self.now)


# ---- facts, from the feed -------------------------------------------------------------------------------------------


@dataclass
class SnapshotArrived(Message):
    snapshot: Snapshot

    def can_replace(self, message: Message) -> bool:
        """Allow a newer snapshot to replace one that was not handled yet."""
        return isinstance(message, SnapshotArrived)


@dataclass
class ConnectionChanged(Message):
    connection: Connection


# ---- requests, from screens and widgets -----------------------------------------------------------------------------


@dataclass
class StartRequested(Message):
    """A request to start a daemon, or to connect now."""


@dataclass
class LoadSheetRequested(Message):
    """A request to open the sheet of a load, which shows its plan first."""

    model: Model


@dataclass
class LoadRequested(Message):
    request: LoadRequest


@dataclass
class UnloadRequested(Message):
    instance: str
    model: str


@dataclass
class PullRequested(Message):
    repo: str
    chat: bool = False
    """Whether the chat opens with the model once it is here."""


@dataclass
class PullChangeRequested(Message):
    """A request to pause, resume or cancel a pull."""

    verb: Literal["pause", "resume", "cancel"]
    job: str


@dataclass
class UpdateRequested(Message):
    """A request to fetch the newer version of a model."""

    model: str


@dataclass
class LookForNewerRequested(Message):
    """A request to ask the Hub which models have a newer version."""


@dataclass
class CancelRequested(Message):
    request_id: str


@dataclass
class ChatRequested(Message):
    """A request to open the chat with this model."""

    model: str


@dataclass
class ThinkingRequested(Message):
    """A request to turn thinking on or off in the chat; None leaves it to each model."""

    thinking: bool | None


@dataclass
class SettingChanged(Message):
    """A setting that was changed in config.toml."""

    key: str
    value: Any
    """The new value; None if the key was removed."""


@dataclass
class ChoiceMade(Message):
    """A change of how a screen is shown, which the next run begins with."""

    changes: dict[str, Any]
    """Names and values of fields of Choices."""


@dataclass
class CopyRequested(Message):
    text: str
    what: str
    """Name of the text in the toast, for example "code block"."""


@dataclass
class Notified(Message):
    """A toast to show, with `hint` on its second line."""

    text: str
    hint: str | None = None
    severity: Literal["information", "warning", "error"] = "information"


# ---- questions to the daemon, from screens --------------------------------------------------------------------------


@dataclass
class QueryRequested(Message):
    """A question to the daemon whose answer is not a part of the snapshot."""

    name: str
    """Name of the question. A newer one with the same name replaces it."""
    ask: Callable[[Any], Awaitable[Any]]
    """Function from the client to the answer."""
    answer: Callable[[Any], object]
    failed: Callable[[ErrorBody], object] | None = None
    """Function that receives the error; without it, a toast shows the error."""


@dataclass
class StreamRequested(Message):
    """A stream of the daemon, such as its log."""

    name: str
    open: Callable[[Any], AsyncIterator[Any]]
    """Function from the client to the stream."""
    each: Callable[[Any], object]
    ended: Callable[[ErrorBody | None], object]
    """Function that receives the error that ended the stream, or None."""


@dataclass
class StreamStopped(Message):
    """A request to close the stream of this name."""

    name: str
