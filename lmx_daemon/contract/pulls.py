"""Pulls: what is asked of the queue of downloads, and what is told of each. All frozen; bytes and seconds."""

from typing import Annotated, Literal

import msgspec

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen

DownloadState = Literal[
    "queued", "downloading", "verifying", "retrying", "stalled", "paused", "done", "failed", "cancelled"
]
DOWNLOAD_ENDS: frozenset[DownloadState] = frozenset({"paused", "done", "failed", "cancelled"})
"""States that a pull does not leave by itself."""


class Download(Frozen, frozen=True):
    """One pull. Paused and failed ones go on when they are asked to; all but the cancelled survive the daemon."""

    id: str
    repo: str
    state: DownloadState
    requested: str | None = None
    """The branch, tag or commit that was asked for; None is the main branch."""
    revision: str | None = None
    """The commit, once it is known."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    position: int | None = None
    """In the queue, 0 is the next; None for those that run, wait for nothing, or have ended."""
    done: int = 0
    """Bytes that are in place, those of earlier attempts included."""
    total: int | None = None
    rate: float = 0.0
    eta: float | None = None
    files_done: int = 0
    files_total: int | None = None
    file: str | None = None
    """The file under way."""
    resumed: int = 0
    """Bytes that an earlier attempt had left."""
    retries: int = 0
    checked: int = 0
    """Of `to_check` bytes that were found here, so many are hashed."""
    to_check: int = 0
    note: str | None = None
    """Why it waits or tries again, in one line."""
    skipped: tuple[str, ...] = ()
    """Files of the repository that a model does not need."""
    started_at: float = 0.0
    ended_at: float | None = None
    error: ErrorBody | None = None


class PullRequest(Frozen, frozen=True):
    """`repo` may be an id, an id@revision, or a page's address on the Hub."""

    repo: str
    revision: str | None = None
    include: tuple[str, ...] = ()
    """Patterns; they replace what a model needs by default."""
    exclude: tuple[str, ...] = ()
    paused: bool = False
    """Put into the list, not begun."""
    endpoint: str | None = None
    """The Hub; None is the daemon's own."""
    token: str | None = None
    """For this pull while the daemon lives; never written, never told."""

    def __repr__(self) -> str:
        return f"PullRequest(repo={self.repo!r}, revision={self.revision!r})"


class MovePull(Frozen, frozen=True):
    """To a place in the queue; 0 is the next."""

    position: int


class PullLimit(Frozen, frozen=True):
    """Bytes a second over all pulls; None is no bound."""

    bytes_per_second: Annotated[int, msgspec.Meta(ge=16_384)] | None = None
