"""Measurements of loads, kept in $LMX_HOME/measured.json. The next plan of a model starts from them."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import Model
from lmx_daemon.memory.need import Measured
from lmx_daemon.storage.state import write_state
from lmx_daemon.storage.versions import VersionedState

MAX_BYTES = 4 * 1024 * 1024
"""Size of the file, at most."""
MAX_MODELS = 500
"""Number of measurements, at most. Above it the oldest are dropped."""


class Book(Frozen, frozen=True):
    """Content of the file, newest last."""

    models: dict[str, Measured] = {}


STATE = VersionedState(Book)


class Measurements:
    """All measurements, by files, kind of device and version of the engine."""

    def __init__(self, file: Path) -> None:
        """Read the file. A broken one is as good as none."""
        self._file = file
        self._known: dict[str, Measured] = {}
        book = STATE.read(file, limit=MAX_BYTES, loss="memory plans are estimates again")
        if book is not None:
            self._known = dict(book.models)

    def of(self, model: Model, backend: str, versions: Mapping[str, str]) -> Measured | None:
        """Return what a load of the same files by the same program on the same kind of device measured; else None."""
        return self._known.get(_key(model, backend, versions))

    def note(self, model: Model, backend: str, versions: Mapping[str, str], measured: Measured) -> bool:
        """Remember what a load measured. Return whether that is new."""
        key = _key(model, backend, versions)
        if self._known.get(key) == measured:
            return False
        self._known.pop(key, None)
        self._known[key] = measured
        while len(self._known) > MAX_MODELS:
            del self._known[next(iter(self._known))]
        return True

    def encoded(self) -> bytes:
        """Return the content of the file."""
        return STATE.encode(Book(models=self._known))

    def write(self, data: bytes) -> None:
        """Write the file. A full disk costs an estimate, not a load."""
        with contextlib.suppress(OSError):
            write_state(self._file, data)


def _key(model: Model, backend: str, versions: Mapping[str, str]) -> str:
    """Return a key that stands for the files, the program and the kind of device."""
    files = model.revision or f"{model.size}:{model.modified_at:.0f}"
    return f"{model.id}@{files} {backend.partition(',')[0]} mlx-lm {versions.get('mlx-lm', '')}"
