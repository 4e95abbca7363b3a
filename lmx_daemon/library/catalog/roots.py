"""Where models are on this machine: the built-in one, the Hugging Face cache, LM Studio's, imported ones, and the
folders that the config names. It only looks; what is found is described elsewhere."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmx_daemon.contract.text import valid_text
from lmx_daemon.storage.reading import read_model_file, read_object

BUILT_IN = Path(__file__).parents[1] / "guide"
FOLDER = re.compile(r"models--([A-Za-z0-9][\w.-]*)--([A-Za-z0-9][\w.-]*)")
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,95}")
MAX_REF_BYTES = 1024
MAX_ENTRIES = 5_000
"""Folders looked at under one watched folder; more than that is no folder of models."""
WEIGHTS = ".safetensors"
"""What LM Studio and watched folders hold besides, GGUF above all, is nothing for lmx to list."""
Source = Literal["built-in", "hub", "lmstudio", "imported", "folder"]


@dataclass(frozen=True)
class ModelRoot:
    """A folder that holds models; `source` tells how they lie in it and whose they are."""

    source: Source
    root: Path

    def __str__(self) -> str:
        return str(self.root)


@dataclass(frozen=True)
class ModelFolder:
    """A folder that may hold a model, under the id that it would have."""

    id: str
    folder: Path
    source: Source
    revision: str | None = None


def hub_cache(environ: Mapping[str, str]) -> Path:
    """The cache directory, found as huggingface_hub finds it."""
    if cache := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expanduser(cache))
    return hf_home(environ) / "hub"


def hf_home(environ: Mapping[str, str]) -> Path:
    if home := environ.get("HF_HOME"):
        return Path(os.path.expanduser(home))
    return Path(os.path.expanduser(environ.get("XDG_CACHE_HOME") or "~/.cache")) / "huggingface"


def lmstudio_folders(environ: Mapping[str, str]) -> list[Path]:
    """Return LM Studio's folders of models: the one that its settings name, and the two default ones.

    A folder need not exist. Only a scan looks at the folders, since one of them may be on a disk that does not answer.
    """
    home = Path(os.path.expanduser(environ.get("HOME") or "~"))
    folders = [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"]
    named = (read_object(home / ".lmstudio" / "settings.json") or {}).get("downloadsFolder")
    if isinstance(named, str) and valid_text(named) == named and "\0" not in named:
        folders = [folder for folder in [Path(os.path.expanduser(named)), *folders] if folder.is_absolute()]
    return list(dict.fromkeys(folders))


def look(place: ModelRoot) -> Iterator[ModelFolder]:
    """The folders of a place that may hold models, by id. One that cannot be read holds none."""
    try:
        match place.source:
            case "hub":
                yield from _in_cache(place.root)
            case "lmstudio" | "imported":
                yield from _two_deep(place)
            case "folder":
                yield from _watched(place)
            case "built-in":
                return
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return


def _in_cache(root: Path) -> Iterator[ModelFolder]:
    for name in sorted(os.listdir(root)):
        if (match := FOLDER.fullmatch(name)) and (commit := current_commit(root / name)):
            yield ModelFolder(f"{match[1]}/{match[2]}", root / name / "snapshots" / commit, "hub", commit)


def _two_deep(place: ModelRoot) -> Iterator[ModelFolder]:
    for owner in _folders(place.root):
        for folder in _folders(owner):
            if NAME.fullmatch(owner.name) and NAME.fullmatch(folder.name) and _holds_weights(folder):
                yield ModelFolder(f"{owner.name}/{folder.name}", folder, place.source)


def _watched(place: ModelRoot) -> Iterator[ModelFolder]:
    """The folder itself, what lies in it, and one level deeper."""
    if _holds_weights(place.root):
        yield ModelFolder(f"local/{_plain(place.root.name)}", place.root, place.source)
        return
    looked = 0
    for outer in _folders(place.root):
        if _holds_weights(outer):
            yield ModelFolder(f"local/{_plain(outer.name)}", outer, place.source)
            continue
        for inner in _folders(outer):
            if (looked := looked + 1) > MAX_ENTRIES:
                return
            if _holds_weights(inner):
                yield ModelFolder(f"{_plain(outer.name)}/{_plain(inner.name)}", inner, place.source)


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return sorted(Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:  # one that cannot be read does not hide the others
        return []


def _holds_weights(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(WEIGHTS) for entry in entries)
    except OSError:
        return False


def _plain(name: str) -> str:
    """A folder's name as a part of an id."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model"


def current_commit(folder: Path) -> str | None:
    """Of a repository in the cache: the commit that `main` names, else the newest snapshot."""
    try:
        named = (read_model_file(folder / "refs" / "main", MAX_REF_BYTES) or b"").decode().strip()
        if COMMIT.fullmatch(named) and (folder / "snapshots" / named).is_dir():
            return named
    except (OSError, UnicodeDecodeError):
        pass
    try:
        snapshots = [s for s in (folder / "snapshots").iterdir() if COMMIT.fullmatch(s.name)]
        return max(snapshots, key=lambda s: s.stat().st_mtime).name if snapshots else None
    except OSError:
        return None
