"""`lmx import`: an import from its plan to the recorded hashes, with progress. imports.py links or copies the files."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from lmx_daemon.contract.admin.library.files import ImportRequest, VerifyRequest, VerifyState, VerifyUpdate
from lmx_daemon.contract.errors import ConflictError, LmxError
from lmx_daemon.contract.units import size
from lmx_daemon.library.catalog.model_registry import ModelRegistry
from lmx_daemon.library.disk import imports
from lmx_daemon.library.disk.disk_errors import disk_error
from lmx_daemon.library.verify.verifier import Verifier
from lmx_daemon.settings.schema import LibrarySettings


class ModelImports:
    """Imports into lmx's home."""

    def __init__(self, registry: ModelRegistry, verifier: Verifier, settings: Callable[[], LibrarySettings]) -> None:
        self._registry = registry
        self._verifier = verifier
        self._settings = settings

    async def add(self, request: ImportRequest) -> AsyncGenerator[VerifyUpdate]:
        """Import a model and record its hashes; the last update holds the result.

        A model that cannot be recorded is removed again. Raises RequestError, ConflictError.
        """
        files, identity, folder, total = await asyncio.to_thread(self._plan, request)
        done = [0]

        def count(size: int) -> None:
            done[0] += size

        state: VerifyState = "copying" if request.copy else "linking"
        yield VerifyUpdate(id=identity, state=state, total=total)
        work = asyncio.create_task(asyncio.to_thread(imports.import_files, files, folder, request.copy, count))
        while not work.done():
            await asyncio.wait([work], timeout=0.2)
            yield VerifyUpdate(id=identity, state=state, done=done[0], total=total)
        try:
            await work
        except OSError as error:
            yield VerifyUpdate(id=identity, state="failed", error=disk_error(error).body())
            return
        await self._registry.catalog.rescan(urgent=True)
        recorded = False
        try:
            async for update in self._verifier.verify(VerifyRequest(id=identity, accept=True)):
                recorded |= update.state in ("recorded", "changed")
                if update.state != "failed":
                    yield update
        finally:
            if not recorded:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                await self._registry.catalog.rescan(urgent=True)
        if not recorded:
            yield update

    def _plan(self, request: ImportRequest) -> tuple[dict[str, Path], str, Path, int]:
        """Return the files to import, the model's id, its new folder, and the number of bytes to copy. Blocking.

        Raises RequestError, UntrustedModelError, ConflictError, or LmxError when the disk has no room for a copy.
        """
        files = imports.plan(Path(os.path.expanduser(request.path)))
        identity, folder = imports.destination(request, self._registry.imported)
        if any(model.id == identity for model in self._registry.catalog.known()):
            raise ConflictError(f"another model is named {identity}", hint="give another id: --as owner/name")
        total = sum(file.stat().st_size for file in files.values()) if request.copy else 0
        self._check_room(total, folder)
        return files, identity, folder, total

    def _check_room(self, wanted: int, folder: Path) -> None:
        """Raise LmxError when `wanted` bytes do not fit on the disk of a new folder."""
        existing = folder
        while not existing.exists():
            existing = existing.parent
        free = shutil.disk_usage(existing).free
        if wanted and wanted + self._settings().reserve_bytes > free:
            raise LmxError(
                f"the copy needs {size(wanted)}, and {size(free)} are free",
                hint="free some space, or link to the files where they are: --link",
            )
