"""The models on disk, from every place, each under an id of its own. Cheap enough to be asked at any time.

It reads models and never writes to them; what a repository contains cannot break the listing. What it has described is
kept in a file, so that a fresh start with hundreds of models is quick too.
"""

import asyncio
import difflib
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.types import GUIDE, Model
from lmx_daemon.contract.version import VERSION
from lmx_daemon.library.catalog.entry import completed, entry_of, key_of, stamp_of
from lmx_daemon.library.catalog.roots import BUILT_IN, ModelFolder, ModelRoot, model_folders
from lmx_daemon.library.catalog.scanner import HUNG_SECONDS, Scan, Scanner, wait_for
from lmx_daemon.library.disk.layout import hub_cache
from lmx_daemon.storage.state import msgpack_of, read_state, write_state

SCAN_SHARE = 0.02
"""Share of a core that repeated scans take at most while a screen reads the listing."""
NEAREST = 5
"""Names that the error of an unknown model lists, at most."""
SIMILAR = 0.5
"""Ratio of difflib from which a name counts as near."""
MOST_COMPARED = 500
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
MAX_KEPT_BYTES = 64 * 1024 * 1024
FRESH_SECONDS = 1.0
"""How long a listing is taken as true."""
PATIENCE_SECONDS = 5.0
"""Longest time that a request waits for a scan."""
REFRESH_SECONDS = 30.0
"""Longest time that a thread waits for one."""


class Description(Frozen, frozen=True):
    """A description, and the stamp of the files that it was read from."""

    stamp: str
    model: Model | None


class SavedCatalog(Frozen, frozen=True):
    version: str
    described: dict[str, Description]


class Catalog:
    """`complete` adds to a description what is not in the model's files. Reads of the disk happen in the thread of a
    scan only; `find` and `known` answer from memory, and suit the event loop."""

    def __init__(
        self,
        environ: Mapping[str, str],
        places: Sequence[ModelRoot] | None = None,
        *,
        complete: Callable[[Model], Model] = lambda model: model,
        kept: Path | None = None,
        hung_seconds: float = HUNG_SECONDS,
    ) -> None:
        self._places = [ModelRoot("hub", hub_cache(environ))] if places is None else list(places)
        self._complete = complete
        self._file = kept
        self._known = self._read()
        self._models: dict[str, Model] = {}
        self._by_place: dict[ModelRoot, list[Model]] = {}
        self._described_by_place: dict[ModelRoot, dict[str, Description]] = {}
        self._listed_at = -math.inf
        self._scans = Scanner(self._scan, hung_seconds)
        self.asked = False
        """Whether the listing was read since the last refresh, so that another one is worth its time."""
        self._scan_seconds = 0.0
        """Processor time of the last scan."""

    # ---- from memory ----

    def known(self) -> list[Model]:
        """Return the models as they were last seen; none before the first scan."""
        self.asked = True
        return list(self._models.values())

    def find(self, name: str) -> Model:
        """Return the model with this id, else the only one whose id matches without its owner or its case.

        Raises ModelNotFoundError.
        """
        models = self.known()
        close = [model for model in models if model.id == name] or _close(models, name)
        if len(close) == 1:
            return close[0]
        raise ambiguous(name, close) if close else not_found(name, models)

    def refresh_due(self) -> bool:
        """Return whether the listing is being read and old enough, by what a scan costs, to be refreshed unasked.

        A scan of 1,000 models takes 0.12 s: one a second would cost an idle daemon an eighth of a core.
        """
        return self.asked and time.monotonic() - self._listed_at >= self._scan_seconds / SCAN_SHARE

    # ---- for the event loop: after a scan, or without it where it takes too long ----

    async def seek(self, name: str) -> Model:
        """Return what `find` does, after a scan where the model is unknown or had a problem. Waits PATIENCE_SECONDS at
        most, then answers from memory. Raises ModelNotFoundError."""
        if (found := self._models.get(name)) is not None and found.problem is None:
            self.asked = True
            return found
        with suppress(ModelNotFoundError):
            if (model := self.find(name)).problem is None:
                return model
        await self.rescan()
        return self.find(name)

    async def listing(self) -> list[Model]:
        """Return the models, at most a second old unless a disk does not answer."""
        if time.monotonic() - self._listed_at >= FRESH_SECONDS:
            await self.rescan()
        return self.known()

    async def rescan(self, urgent: bool = False) -> None:
        """Wait for a scan that begins from now on: at once where it is `urgent`, else a second after the last one.
        Gives up after PATIENCE_SECONDS."""
        scan = asyncio.wrap_future(self._scans.request(urgent))
        await asyncio.wait([scan], timeout=PATIENCE_SECONDS)
        if scan.done():
            scan.result()

    # ---- for threads ----

    def models(self) -> list[Model]:
        """Return lmx/guide, then the others by id; at most a second old. Blocking."""
        if time.monotonic() - self._listed_at >= FRESH_SECONDS:
            return self.refresh()
        return list(self._models.values())

    def locate(self, name: str) -> Model:
        """Return what `seek` does. Blocking. Raises ModelNotFoundError."""
        with suppress(ModelNotFoundError):
            if (model := self.find(name)).problem is None:
                return model
        self.refresh()
        return self.find(name)

    def refresh(self) -> list[Model]:
        """Return the models after a scan that begins now. Blocking, with a limit for a disk that does not answer."""
        wait_for(self._scans.request(urgent=True), REFRESH_SECONDS)
        return list(self._models.values())

    # ---- the scan ----

    def _scan(self, scan: Scan) -> None:
        self.asked = False
        begun = time.thread_time()
        described: dict[str, Description] = {}
        listed: dict[str, Model] = {}
        for place in [ModelRoot("built-in", BUILT_IN), *self._places]:
            if place in scan.left_out:
                self._keep(place, described, listed)
            elif not scan.abandoned:
                scan.enter(place)
                self._scan_place(place, scan, described, listed)
        if scan.abandoned:
            return
        guide = [listed.pop(GUIDE)] if GUIDE in listed else []
        self._models = {model.id: model for model in [*guide, *sorted(listed.values(), key=lambda m: m.id.lower())]}
        self._listed_at, self._scan_seconds = time.monotonic(), time.thread_time() - begun
        if described != self._known:
            self._known = described
            self._write()

    def _scan_place(
        self, place: ModelRoot, scan: Scan, described: dict[str, Description], listed: dict[str, Model]
    ) -> None:
        found_here: dict[str, Description] = {}
        models: list[Model] = []
        for found in [ModelFolder(GUIDE, BUILT_IN, "built-in")] if place.source == "built-in" else model_folders(place):
            key = key_of(found)
            entry = found_here[key] = self._describe(key, found)
            if (model := entry.model) is not None:
                if model.id in listed:  # the same id in two places: the first keeps it, the others name their place
                    model = msgspec.structs.replace(model, id=f"{found.source}:{model.id}")
                listed[model.id] = completed(model, self._complete)
                models.append(listed[model.id])
            scan.progress()
        described |= found_here
        if not scan.abandoned:
            self._by_place[place], self._described_by_place[place] = models, found_here

    def _keep(self, place: ModelRoot, described: dict[str, Description], listed: dict[str, Model]) -> None:
        """Take over what the last scan found in a place that does not answer."""
        described |= self._described_by_place.get(place, {})
        listed |= {model.id: model for model in self._by_place.get(place, [])}

    def _describe(self, key: str, found: ModelFolder) -> Description:
        stamp = stamp_of(found.folder)
        known = self._known.get(key)
        if known is not None and known.stamp == stamp:
            return known
        return Description(stamp=stamp, model=entry_of(found))

    def _read(self) -> dict[str, Description]:
        found = read_state(self._file, msgpack_of(SavedCatalog), limit=MAX_KEPT_BYTES) if self._file else None
        return found.described if found and found.version == VERSION else {}

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            write_state(self._file, msgspec.msgpack.encode(SavedCatalog(version=VERSION, described=self._known)))
        except OSError:  # it only saves time
            return


def not_found(name: str, models: Iterable[Model]) -> ModelNotFoundError:
    """Return the error for an unknown name. It lists the nearest names only: a library may hold hundreds."""
    nearest = nearest_names(name, [model.id for model in models])
    listed = f"; the nearest: {', '.join(nearest)}" if nearest else ""
    return ModelNotFoundError(
        f"there is no model {name[:200]!r} here{listed}",
        param="model",
        hint=f"download it with: lmx pull {name}"
        if REPOSITORY.fullmatch(name)
        else "`lmx ls` lists the models that are here",
    )


def ambiguous(name: str, close: Iterable[Model]) -> ModelNotFoundError:
    """Return the error for a name without an owner that several models share."""
    listed = ", ".join(sorted(model.id for model in close)[:NEAREST])
    return ModelNotFoundError(f"several models are named {name!r}: {listed}", param="model", hint="name the owner too")


def nearest_names(name: str, known: Sequence[str]) -> list[str]:
    """Return at most NEAREST of the `known` ids, the most similar first; owners count where `name` has one."""
    whole = "/" in name
    texts = {text if whole else text.rpartition("/")[2]: id for id in known[:MOST_COMPARED] if (text := id.lower())}
    return [texts[text] for text in difflib.get_close_matches(name.lower()[:100], texts, NEAREST, SIMILAR)]


def _close(models: list[Model], name: str) -> list[Model]:
    wanted = name.lower()
    return [m for m in models if wanted in (m.id.lower(), m.id.lower().rpartition("/")[2])]
