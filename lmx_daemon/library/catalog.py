"""The models on disk, from every place, each under an id of its own. Cheap enough to be asked at any time.

It reads models and never writes to them; what a repository contains cannot break the listing. What it has described is
kept in a file, so that a fresh start with hundreds of models is quick too.
"""

import difflib
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.types import GUIDE, Model
from lmx_daemon.contract.version import VERSION
from lmx_daemon.library.describe import describe
from lmx_daemon.library.manifest import write_file
from lmx_daemon.library.places import BUILT_IN, Found, Place, hub_cache, look

NEAREST = 5
"""Names that the error of an unknown model lists, at most."""
SIMILAR = 0.5
"""Ratio of difflib from which a name counts as near."""
MOST_COMPARED = 500
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
FRESH_SECONDS = 1.0
"""How long a listing is taken as true."""


class Described(Frozen, frozen=True):
    """A description, and the stamp of the files that it was read from."""

    stamp: str
    model: Model | None


class Kept(Frozen, frozen=True):
    version: str
    described: dict[str, Described]


class Catalog:
    """`complete` adds to a description what is not in the model's files."""

    def __init__(
        self,
        environ: Mapping[str, str],
        places: Sequence[Place] | None = None,
        *,
        complete: Callable[[Model], Model] = lambda model: model,
        kept: Path | None = None,
    ) -> None:
        self._places = [Place("hub", hub_cache(environ))] if places is None else list(places)
        self._complete = complete
        self._file = kept
        self._known = self._read()
        self._models: dict[str, Model] | None = None
        self._listed_at = 0.0
        self._one_at_a_time = threading.Lock()
        self.asked = False
        """Somebody has looked since the last refresh, so that another one is worth its time."""

    def models(self) -> list[Model]:
        """lmx/guide first, then the others by id; at most a second old. It may wait for a disk: for a thread."""
        if self._models is None or time.monotonic() - self._listed_at >= FRESH_SECONDS:
            return self.refresh()
        return list(self._models.values())

    def known(self) -> list[Model]:
        """As it was last seen, without looking; never waits but the first time."""
        self.asked = True
        return self.refresh() if self._models is None else list(self._models.values())

    def find(self, name: str) -> Model:
        """By id, else by the one id that matches without its owner or its case. Raises ModelNotFoundError."""
        models = self.known()
        found = (self._models or {}).get(name)
        if found is not None and found.problem is None:
            return found
        if found is not None:  # what was wrong with it may have been mended
            models = self.refresh()
        if not (close := [model for model in models if model.id == name] or _close(models, name)):
            models = self.refresh()
            close = [model for model in models if model.id == name] or _close(models, name)
        if len(close) == 1:
            return close[0]
        raise ambiguous(name, close) if close else not_found(name, models)

    def refresh(self) -> list[Model]:
        """Looks now, whatever was known. May be called from any thread."""
        with self._one_at_a_time:
            return self._look()

    def _look(self) -> list[Model]:
        self.asked = False
        described: dict[str, Described] = {}
        listed: dict[str, Model] = {}
        for found in [Found(GUIDE, BUILT_IN, "built-in"), *(f for place in self._places for f in look(place))]:
            key = f"{found.source}:{found.id}:{found.folder}"
            entry = described[key] = self._describe(key, found)
            if entry.model is not None:
                model = entry.model
                if model.id in listed:  # the same id in two places: the first has it, the others say whose they are
                    model = msgspec.structs.replace(model, id=f"{found.source}:{model.id}")
                listed[model.id] = self._complete(model)
        if described != self._known:
            self._known = described
            self._write()
        guide = [listed.pop(GUIDE)] if GUIDE in listed else []
        self._models = {model.id: model for model in [*guide, *sorted(listed.values(), key=lambda m: m.id.lower())]}
        self._listed_at = time.monotonic()
        return list(self._models.values())

    def _describe(self, key: str, found: Found) -> Described:
        stamp = stamp_of(found.folder)
        known = self._known.get(key)
        if known is not None and known.stamp == stamp:
            return known
        try:
            return Described(stamp=stamp, model=describe(found.id, found.folder, found.source, found.revision))
        except OSError:  # it vanished, or cannot be read
            return Described(stamp=stamp, model=None)

    def _read(self) -> dict[str, Described]:
        try:
            found = msgspec.msgpack.decode(self._file.read_bytes(), type=Kept) if self._file else None
        except (OSError, msgspec.MsgspecError):
            return {}
        return found.described if found and found.version == VERSION else {}

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._file, msgspec.msgpack.encode(Kept(version=VERSION, described=self._known)), 0o600)
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


def stamp_of(folder: Path) -> str:
    """Changes when the folder's list of files does, or the size or time of one of them."""
    digest = hashlib.blake2b(str(folder).encode(), digest_size=16)
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                try:
                    status = entry.stat()
                    digest.update(f"{entry.name}\0{status.st_size} {status.st_mtime_ns} {status.st_ino}\n".encode())
                except OSError:  # a link into nothing
                    digest.update(f"{entry.name}\0-\n".encode(errors="replace"))
    except OSError:
        return ""
    return digest.hexdigest()
