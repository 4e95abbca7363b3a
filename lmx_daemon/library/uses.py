"""When each model was last used, kept over restarts. It is told; it asks nobody."""

import time
from pathlib import Path

import msgspec

from lmx_daemon.library.manifest import write_file


class Uses:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = False
        try:
            self._at = msgspec.json.decode(file.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError):
            self._at = {}

    def note(self, identity: str) -> None:
        self._at[identity] = time.time()
        self._changed = True

    def at(self, identity: str) -> float | None:
        return self._at.get(identity)

    def save(self) -> None:
        """Cheap where nothing changed. Raises OSError."""
        if self._changed:
            self._changed = False  # before: a use noted meanwhile is saved the next time
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_file(self._file, msgspec.json.encode(self._at), 0o600)
            except OSError:
                self._changed = True
                raise
