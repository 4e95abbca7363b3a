"""`lmx move`: the checks before a move of the Hub cache, and its two runs with their progress.

copy       all files are copied and proved; the source and the settings are unchanged
(the settings name the target, and the daemon is started again)
finish     what has changed meanwhile is copied, and the source is deleted file by file
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.admin.library.move import MovePlan, MoveState, MoveUpdate
from lmx_daemon.contract.errors import ConflictError, DiskError, LmxError, RequestError
from lmx_daemon.contract.text import valid_text
from lmx_daemon.contract.units import size
from lmx_daemon.library.disk.disk_errors import disk_error
from lmx_daemon.library.disk.layout import repository_folder, repository_id
from lmx_daemon.library.disk.space import DiskSpace
from lmx_daemon.library.move.items import repository_items
from lmx_daemon.library.move.ledger import Ledger, MoveRecord, forget_ledger, read_ledger
from lmx_daemon.library.move.move_progress import MoveProgress
from lmx_daemon.library.move.move_run import MoveRun, repository_folders
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.trash.trash_folders import entry_folders
from lmx_daemon.settings.paths import Home, hub_cache
from lmx_daemon.settings.schema import LibrarySettings

POLL_SECONDS = 0.2
ENDED = ("done", "cancelled", "failed", "paused")
"""States of pulls that do not run by themselves."""
VARIABLE = "LMX_LIBRARY_CACHE"


class CacheMove:
    """Moves of the cache. `cache` is the folder in use, and `in_use` returns the folders of loaded models."""

    def __init__(
        self,
        home: Home,
        cache: Path,
        settings: Callable[[], LibrarySettings],
        environ: Mapping[str, str],
        pulls: PullQueue,
        space: DiskSpace,
        in_use: Callable[[], Collection[str]],
    ) -> None:
        self._home = home
        self._cache = cache
        self._settings = settings
        self._environ = environ
        self._pulls = pulls
        self._space = space
        self._in_use = in_use
        self._file = home.root / "library" / "move.json"
        self._running = False

    def plan(self, path: str) -> MovePlan:
        """Return what a move to `path` will do. Blocking. Raises the error of a move that is not possible."""
        target = self._checked_target(path)
        known = self._known()
        if known is not None and known.target == target == self._cache:
            return self._plan(known.source, target, pointed=True)
        if known is not None and known.target != target:
            raise ConflictError(
                f"the move to {known.target} is not finished",
                hint=f"finish it: lmx move {known.target}; or delete {self._file} and the copies there",
            )
        if os.path.realpath(target) == os.path.realpath(self._cache):
            raise ConflictError(f"the models are in {target} already", hint="name another folder")
        self._check_source(target)
        plan = self._plan(self._cache, target)
        reserve = self._settings().reserve_bytes
        if not plan.same_disk and plan.size + reserve > plan.free + self._copied(target):
            raise DiskError(
                f"the models need {size(plan.size)}, and {size(plan.free)} are free at {target}",
                hint=f"free some space there; {size(reserve)} are left free ([library] reserve_bytes)",
            )
        return plan

    async def copy(self, path: str) -> AsyncGenerator[MoveUpdate]:
        """Copy and prove all files; the last update is `copied` or `failed`. Raises what `plan` raises."""
        plan = await asyncio.to_thread(self.plan, path)
        record = MoveRecord(source=plan.source, target=plan.target, begun_at=time.time())
        ledger = await asyncio.to_thread(self._known) or Ledger(self._file, record)
        async for update in self._run(ledger, "copying", "copied"):
            yield update

    async def finish(self, path: str) -> AsyncGenerator[MoveUpdate]:
        """Copy new files, and delete proved ones from the source; the last update is `moved` or `failed`.

        Raises ConflictError if the daemon does not use the target yet.
        """
        ledger = await asyncio.to_thread(read_ledger, self._file)
        if ledger is None or ledger.target != Path(path) or ledger.target != self._cache:
            raise ConflictError(f"there is no move to {path} to finish", hint="see: lmx move --help")
        async for update in self._run(ledger, "deleting", "moved"):
            yield update

    async def _run(self, ledger: Ledger, state: MoveState, end: MoveState) -> AsyncGenerator[MoveUpdate]:
        if self._running:
            raise ConflictError("the models are being moved already", hint="wait until that command has ended")
        progress = MoveProgress(state)
        for key in ledger.record.damaged:
            progress.add_damaged(key)
        run = MoveRun(ledger, progress, self._space.elsewhere, delete=end == "moved")
        self._running = True
        work = asyncio.create_task(asyncio.to_thread(run.run))
        work.add_done_callback(lambda done: self._ended(done))
        try:
            while not work.done():
                yield progress.update()
                await asyncio.wait([work], timeout=POLL_SECONDS)
            try:
                await work
            except (LmxError, OSError) as error:
                fault = disk_error(error) if isinstance(error, OSError) else error
                yield msgspec.structs.replace(progress.update("failed"), error=fault.body())
                return
            if end == "moved":
                await asyncio.to_thread(forget_ledger, self._file)
            yield progress.update(end)
        finally:
            run.stop()

    def _ended(self, work: "asyncio.Task[None]") -> None:
        self._running = False
        with suppress(asyncio.CancelledError):
            work.exception()  # marks the error as read, since the client may have left

    def _plan(self, source: Path, target: Path, *, pointed: bool = False) -> MovePlan:
        folders = repository_folders(source)
        above = target if target.exists() else target.parent
        used = [Path(folder) for folder in self._in_use() if Path(folder).is_relative_to(source)]
        entries = {name for name in (os.listdir(source) if source.is_dir() else ()) if not name.startswith(".")}
        return MovePlan(
            source=valid_text(str(source)),
            target=valid_text(str(target)),
            models=len(folders),
            size=sum(repository_items(source, folder).size for folder in folders),
            free=shutil.disk_usage(above).free,
            same_disk=source.exists() and source.stat().st_dev == above.stat().st_dev,
            shared=os.path.realpath(source) == os.path.realpath(hub_cache(self._environ)),
            pointed=pointed,
            others=sum(1 for name in entries - {folder.name for folder in folders} if (source / name).is_dir()),
            loaded=tuple(repository_id(repository_folder(folder).name) or folder.name for folder in used),
        )

    def _known(self) -> Ledger | None:
        """Return the ledger of an unfinished move of this cache; None for one of another cache."""
        found = read_ledger(self._file)
        return found if found is not None and self._cache in (found.source, found.target) else None

    def _checked_target(self, path: str) -> Path:
        """Return the target as an absolute path. Raises RequestError, DiskError."""
        target = Path(os.path.normpath(path))
        if not target.is_absolute() or valid_text(path) != path or "\0" in path:
            raise RequestError(f"{path!r} is not an absolute path", param="path")
        if not target.parent.is_dir():
            raise DiskError(
                f"there is no folder {target.parent}", hint="is the disk mounted? If it is, create the folder first"
            )
        if target.exists() and not target.is_dir():
            raise DiskError(f"{target} is not a folder", hint="name a folder, which need not exist")
        real, home = Path(os.path.realpath(target)), Path(os.path.realpath(self._home.root))
        if real.is_relative_to(home):
            raise RequestError(f"{target} is inside lmx's home, whose folders have other uses", param="path")
        if not os.access(target if target.exists() else target.parent, os.W_OK | os.X_OK):
            raise DiskError(f"not allowed to write to {target}", hint="name a folder of yours")
        return target

    def _check_source(self, target: Path) -> None:
        """Raise the error of a cache that cannot be moved to `target` now."""
        here, there = Path(os.path.realpath(self._cache)), Path(os.path.realpath(target))
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise RequestError(f"one of {target} and the present folder {self._cache} contains the other", param="path")
        if not self._cache.is_dir():
            raise ConflictError(
                f"there are no models to move: {self._cache} does not exist",
                hint=f"to use the other folder from now on: lmx config set library.cache {target}",
            )
        if self._environ.get(VARIABLE):
            raise ConflictError(
                f"{VARIABLE} is set, and precedes config.toml", hint=f"unset it, then: lmx move {target}"
            )
        if busy := [job.repo for job in self._pulls.list() if job.state not in ENDED]:
            raise ConflictError(f"{busy[0]} is being pulled", hint="wait for it, or pause it: lmx downloads pause")
        if entry_folders(self._cache / ".locks" / "lmx-trash"):
            raise ConflictError(
                "the trash of the cache contains removed models, which a move would leave behind",
                hint="restore them with lmx rm --undo, or delete them with lmx rm --empty; lmx rm --list shows them",
            )

    def _copied(self, target: Path) -> int:
        """Return the bytes at the target that an earlier attempt has copied."""
        return sum(repository_items(target, folder).size for folder in repository_folders(target))
