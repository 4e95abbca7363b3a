"""The disk as the daemon sees it: what models take, pruning, and replaced revisions on their way to the trash.

disk.py decides; here the locks are taken and the folders are named whose links count. Blocking, for threads.
"""

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

from lmx_daemon.contract.errors import CancelledError, ConflictError
from lmx_daemon.contract.library import DiskUse, PruneReport
from lmx_daemon.contract.types import Model
from lmx_daemon.library.catalog.registry import ModelRegistry
from lmx_daemon.library.catalog.roots import current_commit
from lmx_daemon.library.disk import prune as disk
from lmx_daemon.library.disk.cached_repository import other_holders, repositories
from lmx_daemon.library.disk.links import LinkHolder, files_below, reached
from lmx_daemon.library.disk.trash import Trash
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.pull.repository_writer import RepositoryWriter


class DiskSpace:
    """`in_use` returns the folders of models in memory."""

    def __init__(
        self, registry: ModelRegistry, trash: Trash, pulls: PullQueue, in_use: Callable[[], Collection[str]]
    ) -> None:
        self._registry = registry
        self._trash = trash
        self._pulls = pulls
        self._in_use = in_use

    def use(self) -> DiskUse:
        """Raises DiskError."""
        trash = sum(row.size for row in self._trash.rows())
        reclaimable = sum(removal.size for removal in self._prunable(self._busy()))
        return disk.disk_use(
            self._registry.cache, self._registry.catalog.models(), trash, reclaimable, self._elsewhere()
        )

    def prune(self, dry_run: bool) -> PruneReport:
        """Delete what is unused. What is in memory or belongs to a pull that may go on is left. Raises DiskError."""
        busy = self._busy()
        removals = self._prunable(busy)
        if dry_run:
            return PruneReport(rows=tuple(r.row() for r in removals), freed=sum(r.size for r in removals), dry_run=True)
        with ExitStack() as locks:
            for identity in sorted({removal.id for removal in removals}):
                try:
                    locks.enter_context(RepositoryWriter(self._registry.cache, identity).locked_now())
                except (CancelledError, OSError):  # another program pulls it, or it is gone
                    busy.add(identity)
            removals = self._prunable(busy)  # decided anew, now that no pull can begin
            freed = disk.remove(removals)
        self._registry.catalog.refresh()
        return PruneReport(rows=tuple(removal.row() for removal in removals), freed=freed, dry_run=False)

    def retire(self, model: Model) -> bool:
        """Move the model's revision to the trash, now that `main` names another one; return whether it went.

        It stays where it is in memory, where a ref names it, or where it or its repository is a link. Raises OSError.
        """
        self._registry.catalog.refresh()  # from now on loads use the new revision, so `in_use` is complete
        snapshot = Path(model.path)
        folder = snapshot.parents[1]
        try:
            with RepositoryWriter(self._registry.cache, model.id).locked_now():
                removal = disk.replaced(self._registry.cache, snapshot, self._in_use(), self._elsewhere())
                if removal is not None:
                    self._trash.put_revision(removal, current_commit(folder))
        except CancelledError:  # it is pulled again meanwhile
            return False
        self._registry.catalog.refresh()
        return removal is not None

    def refuse_linked(self, model: Model) -> None:
        """Raise ConflictError where another model's links lead into this one's folder: it would lose its files."""
        whole = Path(model.path).parents[1] if model.source == "hub" else Path(model.path)
        own = {file.identity for file in files_below(whole)}
        holders = {one.id: [LinkHolder(one.folder / "snapshots")] for one in repositories(self._registry.cache)}
        holders |= {m.id: [LinkHolder(Path(m.path))] for m in self._registry.catalog.models() if m.id not in holders}
        holders["a data set or another repository of the cache"] = other_holders(self._registry.cache)
        holders.pop(model.id, None)
        for name, places in holders.items():
            if any(not own.isdisjoint(reached(place)) for place in places):
                raise ConflictError(
                    f"{model.id} cannot be removed: {name} links to its files", hint=f"remove {name} first, or copy it"
                )

    def _prunable(self, busy: Collection[str]) -> list[disk.Removal]:
        return disk.prunable(self._registry.cache, self._in_use(), busy, time.time(), self._elsewhere())

    def _busy(self) -> set[str]:
        return {job.repo for job in self._pulls.list() if job.state not in ("done", "cancelled")}

    def _elsewhere(self) -> list[LinkHolder]:
        """Return the folders outside the cache whose links may lead into it."""
        others = [model for model in self._registry.catalog.models() if model.source in ("folder", "lmstudio")]
        return [
            LinkHolder(self._registry.imported),
            *self._trash.holders(),
            *(LinkHolder(Path(model.path)) for model in others),
        ]
