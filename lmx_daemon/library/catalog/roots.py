"""The folders in which models are installed: built-in, Hugging Face cache, LM Studio's, imported, and the user's own.

This module lists the folders that may hold a model; it does not describe the models.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.disk.layout import current_commit, repository_id
from lmx_daemon.storage.foreign.reading import read_object

BUILT_IN = Path(__file__).parents[1] / "guide"
NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,95}")
MAX_ENTRIES = 5_000
"""Upper bound on the folders that are read below one watched folder."""
WEIGHTS = ".safetensors"
"""Suffix of the files that make a folder of LM Studio, or a watched one, a model's. GGUF models are not listed."""
Source = Literal["built-in", "hub", "lmstudio", "imported", "folder"]


@dataclass(frozen=True)
class ModelRoot:
    """A folder that holds models. `source` determines its layout and the owner of the models."""

    source: Source
    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ModelFolder:
    """A folder that may hold a model, with the id that the model would have."""

    id: str
    folder: Path
    source: Source
    revision: str | None = None


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


def model_folders(root: ModelRoot) -> Iterator[ModelFolder]:
    """Yield the folders below `root` that may hold a model. A root that cannot be read has none."""
    try:
        match root.source:
            case "hub":
                yield from _in_cache(root.path)
            case "lmstudio" | "imported":
                yield from _two_levels(root)
            case "folder":
                yield from _watched(root)
            case "built-in":
                return
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return


def _in_cache(root: Path) -> Iterator[ModelFolder]:
    for name in sorted(os.listdir(root)):
        if (identity := repository_id(name)) and (commit := current_commit(root / name)):
            yield ModelFolder(identity, root / name / "snapshots" / commit, "hub", commit)


def _two_levels(root: ModelRoot) -> Iterator[ModelFolder]:
    for owner in _folders(root.path):
        for folder in _folders(owner):
            if NAME.fullmatch(owner.name) and NAME.fullmatch(folder.name) and _holds_weights(folder):
                yield ModelFolder(f"{owner.name}/{folder.name}", folder, root.source)


def _watched(root: ModelRoot) -> Iterator[ModelFolder]:
    """Yield the folder itself if it holds weights, else those one or two levels below it."""
    if _holds_weights(root.path):
        yield ModelFolder(f"local/{_plain(root.path.name)}", root.path, root.source)
        return
    count = 0
    for outer in _folders(root.path):
        if _holds_weights(outer):
            yield ModelFolder(f"local/{_plain(outer.name)}", outer, root.source)
            continue
        for inner in _folders(outer):
            if (count := count + 1) > MAX_ENTRIES:
                return
            if _holds_weights(inner):
                yield ModelFolder(f"{_plain(outer.name)}/{_plain(inner.name)}", inner, root.source)


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return sorted(Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:  # an unreadable folder does not hide the others
        return []


def _holds_weights(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(WEIGHTS) for entry in entries)
    except OSError:
        return False


def _plain(name: str) -> str:
    """Return a folder's name as a part of an id."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model"
