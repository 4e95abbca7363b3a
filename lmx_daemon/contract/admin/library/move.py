"""The structs of the move of the Hub cache to another folder or disk."""

from typing import Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen


class MoveRequest(Frozen, frozen=True):
    """Request to move the Hub cache of lmx to another folder. `path` is absolute."""

    path: str


class MovePlan(Frozen, frozen=True):
    """Effects of a move that has not begun."""

    source: str
    target: str
    models: int
    """Number of repositories, those of which no revision is complete included."""
    size: int
    free: int
    """Free bytes on the disk of the target."""
    same_disk: bool
    """Whether files keep their place on the disk and only their paths change."""
    shared: bool
    """Whether the cache is the one of the Hub's tools, which other programs use as well."""
    pointed: bool = False
    """Whether the settings in force name the target already, and only the rest of an earlier move is to be done."""
    others: int = 0
    """Number of further folders in the cache, such as data sets, which stay."""
    loaded: tuple[str, ...] = ()
    """Models of the cache that are in memory. A restart of the daemon unloads them."""


MoveState = Literal["copying", "copied", "deleting", "moved", "failed"]


class MoveUpdate(Frozen, frozen=True):
    """Progress of a move. A copy ends with `copied`, the deletion at the source with `moved`; both can end `failed`."""

    state: MoveState
    model: str = ""
    done: int = 0
    total: int = 0
    eta: float | None = None
    files: int = 0
    left: tuple[str, ...] = ()
    """Entries that stay at the source, each with the reason."""
    damaged: tuple[str, ...] = ()
    """Files whose bytes differ from their stated hash. They were moved as they are."""
    error: ErrorBody | None = None
