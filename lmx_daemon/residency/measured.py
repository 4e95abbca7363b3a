"""What loads have told of models, kept in $LMX_HOME/measured.json: the next plan starts from the truth."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import Model
from lmx_daemon.memory.need import Measured
from lmx_daemon.storage.state import json_of, read_state, write_state

MAX_BYTES = 4 * 1024 * 1024
MAX_MODELS = 500


class Book(Frozen, frozen=True):
    """The file's content, newest last."""

    models: dict[str, Measured] = {}


class Measurements:
    """Read once; written after each load that measures something new."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, Measured] = {}
        book = read_state(file, json_of(Book), limit=MAX_BYTES, loss="memory plans are estimates again")
        if book is not None:
            self._known = dict(book.models)

    def of(self, model: Model, backend: str, versions: Mapping[str, str]) -> Measured | None:
        return self._known.get(_key(model, backend, versions))

    async def keep(self, model: Model, backend: str, versions: Mapping[str, str], measured: Measured) -> None:
        """Known at once, and written in a thread: no stream waits for the disk."""
        key = _key(model, backend, versions)
        if self._known.get(key) == measured:
            return
        self._known.pop(key, None)
        self._known[key] = measured
        while len(self._known) > MAX_MODELS:
            del self._known[next(iter(self._known))]
        with contextlib.suppress(OSError):  # a full disk costs an estimate, not a load
            await asyncio.to_thread(write_state, self._file, msgspec.json.encode(Book(models=self._known)))


def _key(model: Model, backend: str, versions: Mapping[str, str]) -> str:
    """The same files, computed by the same program on the same kind of device."""
    files = model.revision or f"{model.size}:{model.modified_at:.0f}"
    return f"{model.id}@{files} {backend.partition(',')[0]} mlx-lm {versions.get('mlx-lm', '')}"
