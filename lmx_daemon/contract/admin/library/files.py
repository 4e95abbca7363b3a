"""The files of a model: their list, their verification, the trust in their code, and imports."""

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


class ImportRequest(Frozen, frozen=True):
    """Request to import a model. `copy` copies the files; otherwise links to them are made."""

    path: str
    id: str | None = None
    copy: bool = False
