"""Requests to the queue of pulls, and the state of each pull. Sizes are bytes, times are seconds."""

from typing import Annotated, Literal

import msgspec

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen

DownloadState = Literal[
    "queued", "downloading", "verifying", "retrying", "stalled", "paused", "done", "failed", "cancelled"
]
DOWNLOAD_ENDS: frozenset[DownloadState] = frozenset({"paused", "done", "failed", "cancelled"})
"""States that a pull does not leave without a command."""


class Download(Frozen, frozen=True):
    """State of one pull. All pulls but cancelled ones survive a restart of the daemon."""

    id: str
    repo: str
    state: DownloadState
    requested: str | None = None
    """Requested branch, tag or commit; None is the main branch."""
    revision: str | None = None
    """Commit; None until it is resolved."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    position: int | None = None
    """Position in the queue, 0 is the next; None for a pull that is not queued."""
    done: int = 0
    """Bytes on disk, those of earlier attempts included."""
    total: int | None = None
    rate: float = 0.0
    eta: float | None = None
    files_done: int = 0
    files_total: int | None = None
    file: str | None = None
    """File that is being downloaded."""
    resumed: int = 0
    """Bytes that earlier attempts had downloaded."""
    retries: int = 0
    checked: int = 0
    """Bytes hashed so far, out of `to_check` bytes that were found on disk."""
    to_check: int = 0
    note: str | None = None
    """Reason for waiting or retrying, in one line."""
    skipped: tuple[str, ...] = ()
    """Files of the repository that are not downloaded because a model does not need them."""
    started_at: float = 0.0
    ended_at: float | None = None
    error: ErrorBody | None = None


class PullRequest(Frozen, frozen=True):
    """Request for a pull. `repo` is an id, an id@revision, or the URL of a page on the Hub."""

    repo: str
    revision: str | None = None
    include: tuple[str, ...] = ()
    """File patterns that replace the default selection."""
    exclude: tuple[str, ...] = ()
    paused: bool = False
    """Whether the pull is added without being started."""
    endpoint: str | None = None
    """URL of the Hub; None is the one of the daemon."""
    token: str | None = None
    """Token for this pull. It is held in memory only, and never logged or returned."""

    def __repr__(self) -> str:
        """Return a form without the token."""
        return f"PullRequest(repo={self.repo!r}, revision={self.revision!r})"


class MovePull(Frozen, frozen=True):
    """Request to move a pull in the queue; 0 is the next position."""

    position: int


class PullLimit(Frozen, frozen=True):
    """Request to limit the rate of all pulls together, in bytes per second; None removes the limit."""

    bytes_per_second: Annotated[int, msgspec.Meta(ge=16_384)] | None = None
    settings: bool = False
    """Whether the limit of the settings applies again, with their schedule."""


class LimitState(Frozen, frozen=True):
    """Limit on the rate of all pulls together that is in force now."""

    bytes_per_second: int | None
    """None sets no limit."""
    origin: Literal["command", "schedule", "setting"]
    window: str = ""
    """Entry of the schedule that applies, such as "08:00-18:00"."""
