"""The models on disk: lmx/guide, and what the Hugging Face cache holds. Cheap enough to be asked at 4 Hz.

It reads and never writes; what a repository contains cannot break the listing.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.types import GUIDE, Model
from lmx_daemon.library.describe import describe
from lmx_daemon.library.places import BUILT_IN, hub_cache

FOLDER = re.compile(r"models--([A-Za-z0-9][\w.-]*)--([A-Za-z0-9][\w.-]*)")
COMMIT = re.compile(r"[0-9a-f]{40}")
Stamp = tuple[object, ...]


class Catalog:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._cache = hub_cache(environ)
        self._known: dict[str, tuple[Stamp, Model | None]] = {}

    def models(self) -> list[Model]:
        """lmx/guide first, then the others by id."""
        found = [model for model in self._built_in() if model is not None]
        seen = {GUIDE}
        for identity, snapshot, commit in self._snapshots():
            seen.add(identity)
            model = self._describe(identity, snapshot, "hub", commit)
            if model is not None:
                found.append(model)
        for gone in self._known.keys() - seen:
            del self._known[gone]
        return found

    def find(self, name: str) -> Model:
        """By id, else by the one id that matches without its owner or its case. Raises ModelNotFoundError."""
        models = self.models()
        for model in models:
            if model.id == name:
                return model
        wanted = name.lower()
        close = [m for m in models if wanted in (m.id.lower(), m.id.lower().rpartition("/")[2])]
        if len(close) == 1:
            return close[0]
        listed = ", ".join(model.id for model in models) or "none"
        raise ModelNotFoundError(
            f"there is no model {name!r} here; there is: {listed}",
            param="model",
            hint=f"download it with: lmx pull {name}" if "/" in name else "`lmx ls` lists the models that are here",
        )

    def _built_in(self) -> Iterator[Model | None]:
        yield self._describe(GUIDE, BUILT_IN, "built-in", None)

    def _snapshots(self) -> Iterator[tuple[str, Path, str]]:
        """(id, folder, commit) of each repository in the cache, by id."""
        try:
            folders = sorted(self._cache.iterdir())
        except OSError:
            return
        for folder in folders:
            if (match := FOLDER.fullmatch(folder.name)) and (commit := _commit(folder)):
                yield f"{match[1]}/{match[2]}", folder / "snapshots" / commit, commit

    def _describe(self, identity: str, path: Path, source: str, commit: str | None) -> Model | None:
        stamp = _stamp(path)
        known = self._known.get(identity)
        if known is None or known[0] != stamp:
            try:
                model = describe(identity, path, source, commit)
            except OSError:  # it vanished, or cannot be read
                model = None
            known = self._known[identity] = stamp, model
        return known[1]


def _commit(folder: Path) -> str | None:
    """The commit that `main` names, else the newest snapshot."""
    try:
        named = (folder / "refs" / "main").read_text().strip()
        if COMMIT.fullmatch(named) and (folder / "snapshots" / named).is_dir():
            return named
    except (OSError, UnicodeDecodeError):
        pass
    try:
        snapshots = [s for s in (folder / "snapshots").iterdir() if COMMIT.fullmatch(s.name)]
        return max(snapshots, key=lambda s: s.stat().st_mtime).name if snapshots else None
    except OSError:
        return None


def _stamp(path: Path) -> Stamp:
    """Changes when the folder's list of files or its config does."""
    stamp: list[object] = [path]
    for file in (path, path / "config.json", path / "model.safetensors", path / "tokenizer_config.json"):
        try:
            status = file.stat()
            stamp += [status.st_mtime_ns, status.st_ino, status.st_size]
        except OSError:
            stamp.append(-1)
    return tuple(stamp)
