"""Cheap checks of a model's files against its manifest: sizes, times and headers. Nothing is hashed here."""

import os
from dataclasses import dataclass
from pathlib import Path

from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.verify.manifest import Manifest
from lmx_daemon.storage.foreign.safetensors import read_header


@dataclass(frozen=True)
class FileFault:
    """File that differs from the manifest."""

    path: str
    reason: str

    @property
    def name(self) -> str:
        """The path as valid text."""
        return valid_text(self.path)


def changed_files(manifest: Manifest, folder: Path) -> list[FileFault]:
    """Return the files whose size or time differs since the verification, and weights that were added. Calls stat."""
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
    """Return the weight files without a valid safetensors header."""
    return [
        FileFault(file.name, "has no valid safetensors header")
        for file in sorted(folder.glob("*.safetensors"))
        if read_header(file) is None
    ]


def is_weights(path: str) -> bool:
    """Return whether mlx-lm would load the file as weights, whatever other files there are."""
    return path.startswith("model") and path.endswith(".safetensors") and "/" not in path


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # each of its files is then reported as missing
        return []
