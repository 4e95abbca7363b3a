"""The files of an entry of the trash, and its note."""

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.versions import VersionedState

NOTE = "note.json"
CONTENT = "content"
LEFT = "left"
"""Folder that was in the place of a model when it was restored."""


class TrashNote(Frozen, frozen=True):
    """Content of an entry of the trash, and its former place."""

    id: str
    source: str
    path: str
    size: int
    removed_at: float
    seen_at: float = 0.0
    """Time of the trash's clock at the removal."""
    revision: str | None = None
    """The commit of a replaced revision, whose snapshot was `path`; None for a whole model."""
    replaced_by: str | None = None
    """The commit that replaced the revision."""


STATE = VersionedState(TrashNote)
