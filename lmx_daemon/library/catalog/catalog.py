"""The installed models of all roots, each under a unique id. Lookups are answered from memory.

The catalog never writes to models, and no content of a model can break the listing. The descriptions are saved in a
file, so that a start with hundreds of models is fast.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import GUIDE, Model
from lmx_daemon.contract.version import VERSION
from lmx_daemon.library.catalog.entry import completed, describe_folder, key_of, stamp_of
from lmx_daemon.library.catalog.known_disks import KnownDisks
from lmx_daemon.library.catalog.model_names import ambiguous, matching_model, models_with_part
from lmx_daemon.library.catalog.roots import BUILT_IN, ModelFolder, ModelRoot, model_folders
from lmx_daemon.library.catalog.scanner import HUNG_SECONDS, Scan, Scanner, wait_for
from lmx_daemon.settings.paths import hub_cache
from lmx_daemon.storage.state import msgpack_of, read_state, write_state

SCAN_SHARE = 0.02
"""Share of a core that repeated scans take at most while a screen reads the listing."""
MAX_SAVED_BYTES = 64 * 1024 * 1024
FRESH_SECONDS = 1.0
"""Age up to which a listing is used without a new scan."""
PATIENCE_SECONDS = 5.0
"""Longest time that a coroutine waits for a scan."""
REFRESH_SECONDS = 30.0
"""Longest time that a thread waits for a scan."""


class Description(Frozen, frozen=True):
    """The description of a model, with the stamp of the files from which it was made."""

    stamp: str
    model: Model | None


class SavedCatalog(Frozen, frozen=True):
    """Content of the file of descriptions, valid for one version of lmx."""

    version: str
    described: dict[str, Description]


class Catalog:
    """The installed models. `complete` adds to a description what is not in the model's files.

    `disks` adds the models of disks that are not mounted. Only the thread of a scan reads the disk. `find` and `known`
    use memory and suit the event loop.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        roots: Sequence[ModelRoot] | None = None,
        *,
        complete: Callable[[Model], Model] = lambda model: model,
        saved: Path | None = None,
        disks: KnownDisks | None = None,
        hung_seconds: float = HUNG_SECONDS,
    ) -> None:
        self._roots = [ModelRoot("hub", hub_cache(environ))] if roots is None else list(roots)
        self._complete = complete
        self._file = saved
        self._disks = disks
        self._known = self._read()
        self._models: dict[str, Model] = {}
        self._by_root: dict[ModelRoot, list[Model]] = {}
        self._described_by_root: dict[ModelRoot, dict[str, Description]] = {}
        self._listed_at = -math.inf
        self._scanner = Scanner(self._scan, hung_seconds)
        self.asked = False
        """Whether the listing was read since the last scan, so that another scan is useful."""
        self._scan_seconds = 0.0
        """Processor time of the last scan."""

    # ---- from memory ----

    def known(self) -> list[Model]:
        """Return the models of the last scan; none before the first one."""
        self.asked = True
        return list(self._models.values())

    def by_id(self) -> Mapping[str, Model]:
        """Return the models of the last scan by their ids."""
        self.asked = True
        return self._models

    def find(self, name: str) -> Model:
        """Return the model with this id, else the only model whose id matches without owner and case.

        Raises ModelNotFoundError.
        """
        return matching_model(name, self.known())

    def refresh_due(self) -> bool:
        """Return whether the listing is being read and old enough, by what a scan costs, to be refreshed unasked.

        A scan of 1,000 models takes 0.12 s: one a second would cost an idle daemon an eighth of a core.
        """
        return self.asked and time.monotonic() - self._listed_at >= self._scan_seconds / SCAN_SHARE

    # ---- for the event loop: after a scan, or without it when it takes too long ----

    async def seek(self, name: str) -> Model:
        """Return the model that `find` returns, after a scan if the model is unknown or has a problem.

        Waits PATIENCE_SECONDS at most, then uses memory. Raises ModelNotFoundError.
        """
        if (found := self._models.get(name)) is not None and found.problem is None:
            self.asked = True
            return found
        with suppress(ModelNotFoundError):
            if (model := self.find(name)).problem is None:
                return model
        await self.rescan()
        return self.find(name)

    async def seek_part(self, name: str) -> Model:
        """Return the model that `seek` returns, else the only one with a word that begins with `name`.

        Raises ModelNotFoundError.
        """
        try:
            return await self.seek(name)
        except ModelNotFoundError:
            found = models_with_part(name, self.known())
            if len(found) > 1:
                raise ambiguous(name, found) from None
            if not found:
                raise
            return found[0]

    async def listing(self) -> list[Model]:
        """Return the models, at most FRESH_SECONDS old unless a disk does not answer."""
        if time.monotonic() - self._listed_at >= FRESH_SECONDS:
            await _ended(self._scanner.running(FRESH_SECONDS) or self._scanner.request(urgent=False))
        return self.known()

    async def rescan(self, urgent: bool = False) -> None:
        """Wait for a scan that begins after this call, at once if it is `urgent`, else soon after the last one.

        Returns after PATIENCE_SECONDS at the latest.
        """
        await _ended(self._scanner.request(urgent))

    # ---- for threads ----

    def models(self) -> list[Model]:
        """Return lmx/guide, then the others by id, at most FRESH_SECONDS old. Blocking."""
        if time.monotonic() - self._listed_at >= FRESH_SECONDS:
            return self.refresh()
        return list(self._models.values())

    def locate(self, name: str) -> Model:
        """Return the model that `seek` returns. Blocking. Raises ModelNotFoundError."""
        with suppress(ModelNotFoundError):
            if (model := self.find(name)).problem is None:
                return model
        self.refresh()
        return self.find(name)

    def refresh(self) -> list[Model]:
        """Return the models after a scan that begins now. Blocking, for REFRESH_SECONDS at most."""
        wait_for(self._scanner.request(urgent=True), REFRESH_SECONDS)
        return list(self._models.values())

    # ---- the scan ----

    def _scan(self, scan: Scan) -> None:
        self.asked = False
        begun = time.thread_time()
        described: dict[str, Description] = {}
        listed: dict[str, Model] = {}
        for root in [ModelRoot("built-in", BUILT_IN), *self._roots]:
            if root in scan.left_out:
                self._keep(root, described, listed)
            elif not scan.abandoned:
                scan.enter(root)
                self._scan_root(root, scan, described, listed)
        if scan.abandoned:
            return
        guide = [listed.pop(GUIDE)] if GUIDE in listed else []
        self._models = {model.id: model for model in [*guide, *sorted(listed.values(), key=lambda m: m.id.lower())]}
        self._listed_at, self._scan_seconds = time.monotonic(), time.thread_time() - begun
        if described != self._known:
            self._known = described
            self._write()

    def _scan_root(
        self, root: ModelRoot, scan: Scan, described: dict[str, Description], listed: dict[str, Model]
    ) -> None:
        found_here: dict[str, Description] = {}
        models: list[Model] = []
        built_in = root.source == "built-in"
        folders = iter([ModelFolder(GUIDE, BUILT_IN, "built-in")]) if built_in else model_folders(root)
        first = next(folders, None)
        if self._disks is not None and first is None and (absent := self._disks.absent_models(root.path)):
            listed |= {model.id: model for model in absent if model.id not in listed}
            return
        for found in chain(() if first is None else (first,), folders):
            key = key_of(found)
            entry = found_here[key] = self._describe(key, found)
            if (model := entry.model) is not None:
                if (
                    model.id in listed
                ):  # of equal ids, the first model keeps it, and the others get the source as a prefix
                    model = msgspec.structs.replace(model, id=f"{found.source}:{model.id}")
                listed[model.id] = completed(model, self._complete)
                models.append(listed[model.id])
            scan.progress()
        described |= found_here
        if self._disks is not None and not built_in:
            self._disks.note(root.path, models)
        if not scan.abandoned:
            self._by_root[root], self._described_by_root[root] = models, found_here

    def _keep(self, root: ModelRoot, described: dict[str, Description], listed: dict[str, Model]) -> None:
        """Copy the last result of a root that does not answer."""
        described |= self._described_by_root.get(root, {})
        listed |= {model.id: model for model in self._by_root.get(root, [])}

    def _describe(self, key: str, found: ModelFolder) -> Description:
        stamp = stamp_of(found.folder)
        known = self._known.get(key)
        if known is not None and known.stamp == stamp:
            return known
        return Description(stamp=stamp, model=describe_folder(found))

    def _read(self) -> dict[str, Description]:
        found = read_state(self._file, msgpack_of(SavedCatalog), limit=MAX_SAVED_BYTES) if self._file else None
        return found.described if found and found.version == VERSION else {}

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            write_state(self._file, msgspec.msgpack.encode(SavedCatalog(version=VERSION, described=self._known)))
        except OSError:  # the file only saves time
            return


async def _ended(scan: "Future[None]") -> None:
    """Wait for the end of a scan, for PATIENCE_SECONDS at most. Raise its error."""
    ending = asyncio.wrap_future(scan)
    await asyncio.wait([ending], timeout=PATIENCE_SECONDS)
    if ending.done():
        ending.result()
