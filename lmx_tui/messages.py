"""Every message of the TUI, and the one View that screens draw. Requests go up to the app, facts come from the feed.

Nothing here knows how anything is done or drawn.
"""

from dataclasses import dataclass
from typing import Literal

from textual.message import Message

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation import Event, Generate
from lmx_daemon.contract.types import Snapshot

ConnectionState = Literal["connecting", "online", "offline"]


@dataclass(frozen=True)
class Connection:
    """How the connection to the daemon stands."""

    state: ConnectionState = "connecting"
    error: ErrorBody | None = None
    retry_at: float | None = None
    """On the app's clock; None while an attempt is under way."""


@dataclass(frozen=True)
class View:
    """What a screen is a function of: the last snapshot, the connection, and the time (the app's clock, seconds)."""

    snapshot: Snapshot | None = None
    connection: Connection = Connection()
    arrived: float = 0.0
    """When the snapshot came."""
    now: float = 0.0
    notice: str = ""
    """One line that every screen shows, as of versions that differ."""

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
        """A newer snapshot makes an unread one void."""
        return isinstance(message, SnapshotArrived)


@dataclass
class ConnectionChanged(Message):
    connection: Connection


@dataclass
class EventsArrived(Message):
    """What came of one answer since the last such message; the last one ends with a terminal event."""

    request_id: str
    events: tuple[Event, ...]


# ---- requests, from screens and widgets -----------------------------------------------------------------------------


@dataclass
class StartRequested(Message):
    """Start a daemon, or try the connection now."""


@dataclass
class LoadRequested(Message):
    model: str


@dataclass
class UnloadRequested(Message):
    instance: str
    model: str


@dataclass
class PullRequested(Message):
    repo: str


@dataclass
class PullChangeRequested(Message):
    """Pause, resume or cancel a pull."""

    verb: Literal["pause", "resume", "cancel"]
    job: str


@dataclass
class UpdateRequested(Message):
    """Fetch the newer version of a model."""

    model: str


@dataclass
class LookForNewerRequested(Message):
    """Ask the Hub which models have a newer version."""


@dataclass
class CancelRequested(Message):
    request_id: str


@dataclass
class ChatRequested(Message):
    """Open the chat with this model."""

    model: str


@dataclass
class ThinkingRequested(Message):
    """Whether models are asked to think before they answer; None leaves it to each model."""

    thinking: bool | None


@dataclass
class AnswerRequested(Message):
    request: Generate


@dataclass
class CopyRequested(Message):
    text: str
    what: str
    """Named in the toast: "code block"."""


@dataclass
class Notified(Message):
    """Something to say in a toast; `hint` on a second line."""

    text: str
    hint: str | None = None
    severity: Literal["information", "warning", "error"] = "information"
