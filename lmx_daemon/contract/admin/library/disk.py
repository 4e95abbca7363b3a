"""Disk use, removal and the trash."""

from typing import Literal

from lmx_daemon.contract.frozen import Frozen


class RemoveRequest(Frozen, frozen=True):
    """Request to move a model to the trash."""

    id: str


class TrashRow(Frozen, frozen=True):
    """Removed model that can still be restored."""

    key: str
    id: str
    size: int
    removed_at: float
    purged_at: float
    """Time of the final deletion, which a lack of disk space can bring forward."""
    revision: str | None = None
    """Commit of a revision that an update replaced; None for a whole model."""


class UndoRequest(Frozen, frozen=True):
    """Request to restore a model by id; None is the one removed last."""

    id: str | None = None


class PurgeRequest(Frozen, frozen=True):
    """Request to delete the trash of one id, or the whole trash."""

    id: str | None = None


class DiskRow(Frozen, frozen=True):
    """Disk use of one model."""

    id: str
    path: str
    source: str
    size: int
    """Total size: all revisions and partial files."""
    current: int
    old: int = 0
    """Size of revisions without a ref."""
    partial: int = 0
    orphans: int = 0
    """Size of blobs that no revision uses."""


class DiskUse(Frozen, frozen=True):
    """Disk use of all models."""

    rows: tuple[DiskRow, ...] = ()
    total: int = 0
    trash: int = 0
    reclaimable: int = 0
    """Size that `lmx prune` would free."""
    free: int = 0
    cache: str = ""
    prefixes: int = 0
    """Size of stored prompts on disk; the command line fills it in."""


class PruneRequest(Frozen, frozen=True):
    """Request to delete unused files of the cache."""

    dry_run: bool = True


class PruneRow(Frozen, frozen=True):
    """Unused part of the cache.

    An unnamed revision is a snapshot without a ref; another program may have pinned its commit.
    """

    id: str
    what: Literal["unnamed revision", "orphan", "partial"]
    path: str
    size: int
    """Size that is freed by the deletion of this row after the rows before it."""


class PruneReport(Frozen, frozen=True):
    """Result of a prune."""

    rows: tuple[PruneRow, ...] = ()
    freed: int = 0
    dry_run: bool = True
