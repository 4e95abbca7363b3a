"""What was proved of a model's files, and whether they have changed since. It hashes nothing; that is verify.py's.

A pulled model's manifest lies beside it in the cache; of a model from elsewhere the proof lies under $LMX_HOME.
"""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lmx_daemon.contract.text import valid_text
from lmx_daemon.contract.types import Model
from lmx_daemon.library.catalog.header import read_header
from lmx_daemon.library.verify.manifest import Manifest, manifest_file, read_manifest, write_manifest


@dataclass(frozen=True)
class FileFault:
    """One file that is not as it was proved to be."""

    path: str
    reason: str

    @property
    def name(self) -> str:
        """The path as valid text."""
        return valid_text(self.path)


class ManifestStore:
    """Read once for each change on disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, tuple[int, Manifest | None]] = {}

    def file_of(self, model: Model) -> Path:
        if model.source == "hub" and model.revision:
            return manifest_file(Path(model.path).parents[1], model.revision)
        return self._root / f"{model.source}--{model.id.replace('/', '--').replace(':', '--')}.json"

    def get(self, model: Model) -> Manifest | None:
        """The model's manifest, if it names files that lie in its folder and nowhere else."""
        file = self.file_of(model)
        try:
            modified = file.stat().st_mtime_ns
        except OSError:
            self._known.pop(file, None)
            return None
        known = self._known.get(file)
        if known is None or known[0] != modified:
            found = read_manifest(file)
            if found is not None and not all(map(_is_inside, found.files)):
                found = None
            known = self._known[file] = modified, found
        return known[1]

    def write(self, model: Model, manifest: Manifest) -> None:
        file = self.file_of(model)
        write_manifest(file, manifest)
        self._known.pop(file, None)


def changed(manifest: Manifest, folder: Path) -> list[FileFault]:
    """The files whose size or time is not what it was when they were proved, and weights that were not there then.
    Cheap: one stat for each."""
    named = {entry.path for entry in manifest.files}
    faults = [FileFault(name, "was added") for name in sorted(_names(folder)) if is_weights(name) and name not in named]
    for entry in manifest.files:
        try:
            status = (folder / entry.path).stat()
        except OSError:
            faults.append(FileFault(entry.path, "is missing"))
            continue
        if status.st_size != entry.size:
            faults.append(FileFault(entry.path, f"has {status.st_size} bytes, not {entry.size}"))
        elif entry.modified_ns is not None and status.st_mtime_ns != entry.modified_ns:
            faults.append(FileFault(entry.path, "was written to"))
    return faults


def broken_headers(folder: Path) -> list[FileFault]:
    """The weights' files whose header makes no sense."""
    return [
        FileFault(file.name, "has no proper safetensors header")
        for file in sorted(folder.glob("*.safetensors"))
        if read_header(file) is None
    ]


def is_weights(path: str) -> bool:
    """Whether mlx-lm would read it as a part of the model, whatever else lies there."""
    return path.startswith("model") and path.endswith(".safetensors") and "/" not in path


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # each of its files is missing then
        return []


def _is_inside(entry: object) -> bool:
    path = PurePosixPath(getattr(entry, "path", ".."))
    return not path.is_absolute() and ".." not in path.parts and path.parts != ()
