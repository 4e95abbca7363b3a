"""The cache and the other model folders together: disk use, pruning, and the retirement of replaced revisions.

prune.py decides; this module takes the locks and names the folders whose links count. All methods block.
"""

import os
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

from lmx_daemon.contract.admin.library.disk import DiskUse, PruneReport
from lmx_daemon.contract.errors import CancelledError, ConflictError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.catalog.model_registry import ModelRegistry
from lmx_daemon.library.disk import prune
from lmx_daemon.library.disk.cached_repository import other_holders, repositories
from lmx_daemon.library.disk.layout import RepositoryPaths, current_commit, repository_folder
from lmx_daemon.library.disk.links import LinkHolder, files_below, reached
from lmx_daemon.library.disk.prune import Removal
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.disk.sizes import disk_use
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.trash.trash import Trash

ATTEMPTS = 5
"""Number of decisions about unused files, if models come and go meanwhile."""


class DiskSpace:
    """Disk use and pruning. `in_use` returns the folders of loaded models."""

    def __init__(
        self, registry: ModelRegistry, trash: Trash, pulls: PullQueue, in_use: Callable[[], Collection[str]]
    ) -> None:
        self._registry = registry
        self._cache = registry.cache
        self._trash = trash
        self._pulls = pulls
        self._in_use = in_use

    def use(self) -> DiskUse:
        """Return the bytes that each model occupies. Raises DiskError."""
        trash = sum(row.size for row in self._trash.rows())
        reclaimable = sum(removal.size for removal in self._prunable(self._busy()))
        return disk_use(self._cache, self._registry.catalog.models(), trash, reclaimable, self.elsewhere())

    def prune(self, dry_run: bool) -> PruneReport:
        """Delete unused files, except those of loaded models and of pulls that may continue. Raises DiskError."""
        busy = self._busy()
        removals = self._prunable(busy)
        if dry_run:
            return PruneReport(rows=tuple(r.row() for r in removals), freed=sum(r.size for r in removals), dry_run=True)
        with ExitStack() as locks:
            for identity in sorted({removal.id for removal in removals}):
                try:
                    locks.enter_context(locked_now(RepositoryPaths(self._cache, identity)))
                except (CancelledError, OSError):  # another program pulls it, or it was removed
                    busy.add(identity)
            removals = self._decided(busy)  # again, now that no pull can begin
            freed = prune.remove(removals)
        self._registry.catalog.refresh()
        return PruneReport(rows=tuple(removal.row() for removal in removals), freed=freed, dry_run=False)

    def retire(self, model: Model) -> bool:
        """Move a model's revision to the trash after an update, and return whether it was moved.

        The revision stays if it is loaded, if a ref names it, or if it or its repository is a link. Raises OSError.
        """
        self._registry.catalog.refresh()  # from now on loads use the new revision, so `in_use` is complete
        snapshot = Path(model.path)
        try:
            with locked_now(RepositoryPaths(self._cache, model.id)):
                removal = prune.replaced(self._cache, snapshot, self._in_use(), self.elsewhere())
                if removal is not None:
                    self._trash.put_revision(removal, current_commit(repository_folder(snapshot)))
        except CancelledError:  # another pull of the model has begun
            return False
        self._registry.catalog.refresh()
        return removal is not None

    def refuse_linked(self, model: Model) -> None:
        """Raise ConflictError if links of another model lead into this model's folder: it would lose its files."""
        whole = repository_folder(Path(model.path)) if model.source == "hub" else Path(model.path)
        own = {file.identity for file in files_below(whole)}
        holders = {one.id: [LinkHolder(one.folder / "snapshots")] for one in repositories(self._cache)}
        holders |= {m.id: [LinkHolder(Path(m.path))] for m in self._registry.catalog.models() if m.id not in holders}
        holders["a data set or another repository of the cache"] = other_holders(self._cache)
        holders.pop(model.id, None)
        for name, folders in holders.items():
            if any(not own.isdisjoint(reached(folder)) for folder in folders):
                raise ConflictError(
                    f"{model.id} cannot be removed: {name} links to its files", hint=f"remove {name} first, or copy it"
                )

    def _decided(self, busy: Collection[str]) -> list[Removal]:
        """Return the unused files, decided while no model went to the trash or came back: its links count.

        Raises ConflictError, DiskError.
        """
        for _ in range(ATTEMPTS):
            before = self._places()
            removals = self._prunable(busy)
            if self._places() == before:
                return removals
        raise ConflictError("models are being removed or restored", hint="run the command again when that has ended")

    def _places(self) -> tuple[set[str], set[str]]:
        """Return the names in the cache, and the keys of the trash."""
        return set(os.listdir(self._cache)) if self._cache.is_dir() else set(), {row.key for row in self._trash.rows()}

    def _prunable(self, busy: Collection[str]) -> list[Removal]:
        return prune.prunable(self._cache, self._in_use(), busy, time.time(), self.elsewhere())

    def _busy(self) -> set[str]:
        return {job.repo for job in self._pulls.list() if job.state not in ("done", "cancelled")}

    def elsewhere(self) -> list[LinkHolder]:
        """Return the folders outside the cache whose links may lead into it."""
        others = [model for model in self._registry.catalog.models() if model.source in ("folder", "lmstudio")]
        return [
            LinkHolder(self._registry.imported),
            *self._trash.holders(),
            *(LinkHolder(Path(model.path)) for model in others),
        ]
