"""The library: its parts, the operations of the admin routes on several of them, and periodic work."""

import asyncio
import errno
import math
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from lmx_daemon.contract.admin.library.disk import TrashRow
from lmx_daemon.contract.admin.library.files import Details, Revision, TrustRequest, TrustRow
from lmx_daemon.contract.errors import CancelledError, ConflictError, DiskError
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.text import encodable, valid_text
from lmx_daemon.library.catalog.describe import template
from lmx_daemon.library.catalog.fit import MachineCapacity
from lmx_daemon.library.catalog.model_registry import ModelRegistry
from lmx_daemon.library.disk import imports
from lmx_daemon.library.disk.cached_repository import read_repository
from lmx_daemon.library.disk.disk_errors import disk_error
from lmx_daemon.library.disk.layout import RepositoryPaths, repository_folder
from lmx_daemon.library.disk.model_imports import ModelImports
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.disk.space import DiskSpace
from lmx_daemon.library.hub.addresses import checked_endpoint
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.hub.response_cache import ResponseCache
from lmx_daemon.library.hub.search import Search
from lmx_daemon.library.move.cache_move import CacheMove
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.pull.updates import Updates
from lmx_daemon.library.trash.trash import Trash
from lmx_daemon.library.verify.changes import changed_files
from lmx_daemon.library.verify.file_check import expected_files, model_files
from lmx_daemon.library.verify.verifier import Verifier, file_rows
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import LibrarySettings
from lmx_daemon.storage.durable import sweep_temporary
from lmx_daemon.storage.foreign.reading import read_object

LOOK_SECONDS = 1.0
"""Interval at which `look` must be called."""
TIDY_SECONDS = 60.0
"""Interval of `tidy`."""
ROOM_BYTES = 1024**3
"""Free bytes, beyond the reserve, below which a pull empties the trash."""


class Library:
    """The parts of the library. `machine` returns the memory for models, `in_use` the folders of loaded models."""

    def __init__(
        self,
        home: Home,
        settings: Callable[[], LibrarySettings],
        environ: Mapping[str, str],
        machine: Callable[[], MachineCapacity],
        in_use: Callable[[], Collection[str]],
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._machine = machine
        self._in_use = in_use
        self.registry = ModelRegistry(home, settings, environ)
        self.trash = Trash(self.registry.cache, self.registry.imported, lambda: settings().trash_seconds)
        self.pulls = PullQueue(settings, environ, home.pulls, self._free, self._refuse_absent)
        self.verifier = Verifier(self.registry, self.pulls)
        self.imports = ModelImports(self.registry, self.verifier, settings)
        self.responses = ResponseCache(self.registry.root / "hub")
        self.space = DiskSpace(self.registry, self.trash, self.pulls, in_use)
        self.move = CacheMove(home, self.registry.cache, settings, environ, self.pulls, self.space, in_use)
        self.updates = Updates(self.registry, self.pulls, self.registry.root / "updates.json", self.space.retire)
        self.registry.newer = self.updates.newer
        self._swept = False
        self._tidied = -math.inf

    async def look(self) -> None:
        """Scan the models at the start and while the listing is read, and tidy. To be called every LOOK_SECONDS."""
        if not self._swept:
            await asyncio.to_thread(self._sweep)
        if not self._swept or self.registry.catalog.refresh_due():
            await self.registry.catalog.rescan()
        self._swept = True
        if time.monotonic() - self._tidied >= TIDY_SECONDS:
            self._tidied = time.monotonic()
            await asyncio.to_thread(self.tidy)

    def _sweep(self) -> None:
        """Remove the unfinished files of killed daemons."""
        imports.sweep(self.registry.imported)
        for folder in (
            self.registry.root.parent,
            self.registry.root,
            self.registry.root / "hub",
            self.registry.root / "proofs",
        ):
            sweep_temporary(folder)

    def tidy(self) -> None:
        """Save times of use, expire the trash, shrink the response cache. A failure of one does not stop the others."""
        for act in (self.registry.last_used.save, self.trash.expire, self.responses.tidy):
            with suppress(OSError, DiskError):
                act()

    # ---- the Hub ----

    def hub(self, endpoint: str | None = None) -> Hub:
        """Return the Hub that a request names, else that of the settings, else the daemon's. Raises RequestError."""
        return Hub(checked_endpoint(endpoint) or self._settings().endpoint, self._environ)

    def search(self, endpoint: str | None = None) -> Search:
        """Return a search on the Hub that `hub` returns. Raises RequestError."""
        installed = {model.id for model in self.registry.catalog.known()}
        return Search(self.hub(endpoint), self.responses, self._machine, installed)

    # ---- one model ----

    def details(self, name: str) -> Details:
        """Return everything that is known about a model. Blocking. Raises ModelNotFoundError."""
        model = self.registry.catalog.locate(name)
        folder, machine = Path(model.path), self._machine()
        manifest = self.registry.manifests.get(model)
        expected = expected_files(model, manifest)
        changes = {fault.path: fault.reason for fault in changed_files(manifest, folder)} if manifest else {}
        needed = machine.plan(model) if model.size else None
        revisions: list[Revision] = []
        if model.source == "hub":
            with suppress(DiskError):  # an unreadable snapshot hides only the list of revisions
                revisions = read_repository(repository_folder(folder), model.id).revisions()
        return Details(
            model=model,
            files=file_rows(model, expected.manifest, model_files(folder), changes),
            proof=expected.against,
            config=encodable(read_object(folder / "config.json") or {}),
            template=valid_text(template(folder, read_object(folder / "tokenizer_config.json") or {})),
            memory=needed,
            fit=machine.fit(needed.bytes) if needed else "unknown",
            revisions=tuple(revisions),
            upstream_checked_at=self.updates.checked_at,
        )

    # ---- trust ----

    def trusted(self) -> list[TrustRow]:
        """Return the models whose code is trusted."""
        return [TrustRow(id=found.id, revision=found.revision, at=found.at) for found in self.registry.trust.list()]

    def trust(self, request: TrustRequest) -> TrustRow:
        """Trust a model's code, or withdraw the trust. Blocking.

        Raises ModelNotFoundError, RequestError, DiskError.
        """
        if request.withdraw:
            gone = self.registry.trust.withdraw(request.id)
            self.registry.catalog.refresh()
            return TrustRow(id=request.id, revision="" if gone else "-")
        model = self.registry.catalog.locate(request.id)
        allowed = self.registry.trust.allow(model, request.revision)
        self.registry.catalog.refresh()
        return TrustRow(id=allowed.id, revision=allowed.revision, code=model.code, at=allowed.at)

    # ---- the disk ----

    def check_removal(self, name: str) -> None:
        """Raise the error of a model that cannot be removed now. Blocking.

        That is ModelNotFoundError, RequestError, or ConflictError while it is loaded or another model needs its files.
        """
        model = self.registry.catalog.find(name)
        self.registry.disks.refuse_absent(Path(model.path))
        self.trash.place_of(model)
        self._refuse_loaded(model)
        self.space.refuse_linked(model)

    def _refuse_loaded(self, model: Model) -> None:
        if model.path in self._in_use():
            raise ConflictError(f"{model.id} is loaded", hint=f"unload it first: lmx unload {model.id}")

    def remove(self, name: str) -> TrashRow:
        """Move a model to the trash, without a new scan. Blocking.

        Raises ModelNotFoundError, RequestError, or ConflictError while the model is loaded or being pulled.
        """
        model = self.registry.catalog.find(name)
        self.trash.place_of(model)
        self._refuse_loaded(model)
        row = self._move_to_trash(model)
        try:
            self._refuse_loaded(model)
        except ConflictError:  # a load began during the move
            self.undo(row.key)
            raise
        return row

    def _move_to_trash(self, model: Model) -> TrashRow:
        try:
            if model.source == "hub":
                with locked_now(RepositoryPaths(self.registry.cache, model.id)):
                    row = self.trash.put(model)
            else:
                row = self.trash.put(model)
        except CancelledError:
            raise ConflictError(f"{model.id} is being pulled", hint="`lmx downloads` shows the pull") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskError(
                    f"the disk is full, so {model.id} cannot be moved to the trash",
                    hint="free a little space first: lmx rm --empty deletes the trash, lmx prune deletes unused files",
                ) from error
            raise disk_error(error) from error
        return row

    def undo(self, identity: str | None) -> TrashRow:
        """Restore a model from the trash. Blocking. Raises NotFoundError, ConflictError."""
        try:
            row = self.trash.undo(identity)
        except OSError as error:
            raise disk_error(error) from error
        self.registry.catalog.refresh()
        return row

    def _refuse_absent(self) -> None:
        """Raise DiskError if the disk of the cache is not mounted: its folder would be made on another disk."""
        self.registry.disks.refuse_absent(self.registry.cache)

    def _free(self, folder: Path) -> int:
        """Return the bytes that pulls may use on a disk, after deleting old entries of the trash if space is short."""
        wanted = self._settings().reserve_bytes + ROOM_BYTES
        if shutil.disk_usage(folder).free < wanted:
            self.trash.make_room(wanted, folder)
        return shutil.disk_usage(folder).free + self.trash.size_beside(folder)
