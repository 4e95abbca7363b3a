"""Requests to the library and its answers: files and verification, trash, disk use, models on the Hub."""

from typing import Any, Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import MemoryPlan, Model

Fit = Literal["yes", "after unloading", "no", "unknown"]
"""Whether a model can be loaded on this machine: now, once others are unloaded, or never."""
FileState = Literal["proved", "unproved", "changed", "missing", "extra", "built-in"]


class FileRow(Frozen, frozen=True):
    """File of a model."""

    path: str
    size: int
    hash: str | None = None
    """"sha256:..." or "sha1:...", the latter as git computes it."""
    state: FileState = "unproved"
    note: str | None = None


class Revision(Frozen, frozen=True):
    """Snapshot of a repository in the cache."""

    commit: str
    refs: tuple[str, ...] = ()
    size: int = 0
    current: bool = False
    modified_at: float = 0.0


class Details(Frozen, frozen=True):
    """Details of one model."""

    model: Model
    files: tuple[FileRow, ...] = ()
    proof: str = ""
    """Origin of the hashes."""
    config: dict[str, Any] = {}
    template: str = ""
    memory: MemoryPlan | None = None
    fit: Fit = "unknown"
    revisions: tuple[Revision, ...] = ()
    upstream_checked_at: float | None = None


class CardRequest(Frozen, frozen=True):
    """Request for the model card of an installed model, or with `hub` of a repository on the Hub."""

    id: str
    hub: bool = False


class ModelCard(Frozen, frozen=True):
    """Model card: Markdown from the publisher of a model, without its front matter. It is not trusted."""

    id: str
    text: str
    cut: bool = False
    """Whether the card is longer than `text`."""
    asked_at: float | None = None
    """Time of the Hub's response; None for a card from the disk."""
    note: str | None = None
    """Reason why the response is an old one."""


# ---- verification ----


class VerifyRequest(Frozen, frozen=True):
    """Request to verify a model. `repair` downloads faulty files again; `accept` records the present files."""

    id: str
    repair: bool = False
    accept: bool = False


VerifyState = Literal[
    "copying", "linking", "hashing", "repairing", "sound", "recorded", "repaired", "changed", "failed"
]


class VerifyUpdate(Frozen, frozen=True):
    """Progress of a verification. The last update has one of the last five states."""

    id: str
    state: VerifyState
    done: int = 0
    total: int = 0
    files: int = 0
    against: str = ""
    """Origin of the hashes that the files were compared with."""
    faults: tuple[FileRow, ...] = ()
    error: ErrorBody | None = None


class TrustRequest(Frozen, frozen=True):
    """Request to allow the code of a model. `revision` is the one that was read; `withdraw` revokes the permission."""

    id: str
    revision: str | None = None
    withdraw: bool = False


class TrustRow(Frozen, frozen=True):
    """Revision of a model whose code is allowed."""

    id: str
    revision: str
    code: tuple[str, ...] = ()
    at: float = 0.0


# ---- disk ----


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


class ImportRequest(Frozen, frozen=True):
    """Request to import a model. `copy` copies the files; otherwise links to them are made."""

    path: str
    id: str | None = None
    copy: bool = False


# ---- Hub ----


class SearchRequest(Frozen, frozen=True):
    """Search on the Hub."""

    words: str = ""
    author: str | None = None
    tools: bool = False
    vision: bool = False
    embedding: bool = False
    quantization: str | None = None
    fits: bool = False
    sort: Literal["downloads", "likes", "updated", "created", "trending", "size"] = "downloads"
    limit: int = 20
    context_length: int | None = None
    """Context length for the memory plan; None is the smaller of 8,192 and the length of the model."""


class RecommendRequest(Frozen, frozen=True):
    """Request for recommended models. `every` includes models that do not fit."""

    context_length: int | None = None
    every: bool = False
    ask_hub: bool = True
    """Whether the daemon may connect to the Hub; without it, the figures are approximate."""


class Offer(Frozen, frozen=True):
    """Model on the Hub."""

    id: str
    commit: str | None = None
    size: int | None = None
    """Size of the weights."""
    approximate: bool = False
    """Whether size and parameters are those of lmx's own list, because the Hub has not answered."""
    parameters: int | None = None
    quantization: str | None = None
    architecture: str | None = None
    context_length: int | None = None
    license: str | None = None
    downloads: int | None = None
    likes: int | None = None
    updated_at: float | None = None
    gated: bool = False
    tools: bool = False
    thinking: bool = False
    vision: bool = False
    embedding: bool = False
    memory: int | None = None
    """Planned memory with a context of `memory_context` tokens."""
    memory_context: int | None = None
    fit: Fit = "unknown"
    here: bool = False
    reason: str | None = None
    """Reason for the recommendation."""


class Offers(Frozen, frozen=True):
    """Result of a search or a recommendation."""

    offers: tuple[Offer, ...] = ()
    asked_at: float = 0.0
    """Time of the answer of the Hub."""
    from_cache: bool = False
    note: str | None = None
    """Reason why the answer is an old one."""
    cap: int = 0
    """Memory that models may use on this machine."""


class OutdatedRow(Frozen, frozen=True):
    """Installed model and the newest commit on the Hub."""

    id: str
    commit: str
    newer: str | None = None
    """Newest commit; None if the model is up to date or the commit is unknown."""
    error: str | None = None


class Outdated(Frozen, frozen=True):
    """Result of the check for newer commits."""

    rows: tuple[OutdatedRow, ...] = ()
    checked_at: float = 0.0


class UpdateRequest(Frozen, frozen=True):
    """Request to pull the newest commit of a model."""

    id: str
