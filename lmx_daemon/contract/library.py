"""What is asked and told of the library: files and their proofs, the trash, disk use, the Hub's models. All frozen."""

from typing import Any, Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.types import MemoryPlan, Model

Fit = Literal["yes", "after unloading", "no", "unknown"]
"""Whether a model can be loaded on this machine: now, once others are unloaded, or never."""
FileState = Literal["proved", "unproved", "changed", "missing", "extra", "built-in"]


class FileRow(Frozen, frozen=True):
    path: str
    size: int
    hash: str | None = None
    """"sha256:..." or "sha1:...", the latter as git computes it."""
    state: FileState = "unproved"
    note: str | None = None


class Revision(Frozen, frozen=True):
    """One snapshot of a repository in the cache."""

    commit: str
    refs: tuple[str, ...] = ()
    size: int = 0
    current: bool = False
    modified_at: float = 0.0


class Details(Frozen, frozen=True):
    """All there is to be known of one model."""

    model: Model
    files: tuple[FileRow, ...] = ()
    proof: str = ""
    """What the hashes rest on."""
    config: dict[str, Any] = {}
    template: str = ""
    memory: MemoryPlan | None = None
    fit: Fit = "unknown"
    revisions: tuple[Revision, ...] = ()
    upstream_checked_at: float | None = None


# ---- proving ----


class VerifyRequest(Frozen, frozen=True):
    """`repair` fetches what is wrong again; `accept` takes the files as they are now."""

    id: str
    repair: bool = False
    accept: bool = False


VerifyState = Literal[
    "copying", "linking", "hashing", "repairing", "sound", "recorded", "repaired", "changed", "failed"
]


class VerifyUpdate(Frozen, frozen=True):
    """How far it is; the last one has one of the last five states."""

    id: str
    state: VerifyState
    done: int = 0
    total: int = 0
    files: int = 0
    against: str = ""
    """What the hashes were compared with."""
    faults: tuple[FileRow, ...] = ()
    error: ErrorBody | None = None


class TrustRequest(Frozen, frozen=True):
    """`revision` must be the one whose code was read; `withdraw` takes it back."""

    id: str
    revision: str | None = None
    withdraw: bool = False


class TrustRow(Frozen, frozen=True):
    id: str
    revision: str
    code: tuple[str, ...] = ()
    at: float = 0.0


# ---- the disk ----


class RemoveRequest(Frozen, frozen=True):
    id: str


class TrashRow(Frozen, frozen=True):
    """A removed model that can still be brought back."""

    key: str
    id: str
    size: int
    removed_at: float
    purged_at: float
    """When it goes for good, unless space is short before."""
    revision: str | None = None
    """The commit, where it is a revision that an update replaced; None is the whole model."""


class UndoRequest(Frozen, frozen=True):
    """By id; the last one removed where none is given."""

    id: str | None = None


class PurgeRequest(Frozen, frozen=True):
    """Empties the trash now; of one id, or altogether."""

    id: str | None = None


class DiskRow(Frozen, frozen=True):
    """What one model takes on the disk."""

    id: str
    path: str
    source: str
    size: int
    """All of it: every revision, and what is half fetched."""
    current: int
    old: int = 0
    """In revisions that no name points to."""
    partial: int = 0
    orphans: int = 0
    """In blobs that no revision uses."""


class DiskUse(Frozen, frozen=True):
    rows: tuple[DiskRow, ...] = ()
    total: int = 0
    trash: int = 0
    reclaimable: int = 0
    """What `lmx prune` would free."""
    free: int = 0
    cache: str = ""
    prefixes: int = 0
    """Bytes of prompts that are kept on disk; the command line counts them."""


class PruneRequest(Frozen, frozen=True):
    dry_run: bool = True


class PruneRow(Frozen, frozen=True):
    """One unused thing. An unnamed revision is a snapshot without a ref; another program may have pinned its commit."""

    id: str
    what: Literal["unnamed revision", "orphan", "partial"]
    path: str
    size: int
    """Bytes that are freed once this and the rows before it are gone."""


class PruneReport(Frozen, frozen=True):
    rows: tuple[PruneRow, ...] = ()
    freed: int = 0
    dry_run: bool = True


class ImportRequest(Frozen, frozen=True):
    """`copy` brings the files here; else they are linked to and stay where they are."""

    path: str
    id: str | None = None
    copy: bool = False


# ---- the Hub ----


class SearchRequest(Frozen, frozen=True):
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
    """What keys and values are planned for; 8,192 or the model's own if that is less."""


class RecommendRequest(Frozen, frozen=True):
    """`every` asks for those too that do not fit."""

    context_length: int | None = None
    every: bool = False


class Offer(Frozen, frozen=True):
    """A model on the Hub."""

    id: str
    commit: str | None = None
    size: int | None = None
    """Bytes of its weights."""
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
    """Bytes to run it at `memory_context`."""
    memory_context: int | None = None
    fit: Fit = "unknown"
    here: bool = False
    reason: str | None = None
    """Why it is recommended."""


class Offers(Frozen, frozen=True):
    offers: tuple[Offer, ...] = ()
    asked_at: float = 0.0
    """When the Hub said so."""
    from_cache: bool = False
    note: str | None = None
    """Why it is not fresh."""
    cap: int = 0
    """Bytes that models may use on this machine."""


class OutdatedRow(Frozen, frozen=True):
    id: str
    commit: str
    newer: str | None = None
    """None where it is up to date, or not known."""
    error: str | None = None


class Outdated(Frozen, frozen=True):
    rows: tuple[OutdatedRow, ...] = ()
    checked_at: float = 0.0


class UpdateRequest(Frozen, frozen=True):
    id: str
