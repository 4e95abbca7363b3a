"""When each model was last used, kept over restarts."""

import time
from pathlib import Path

import msgspec

from lmx_daemon.storage.state import json_of, read_state, write_state


class LastUsed:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = False
        self._at = read_state(file, json_of(dict[str, float]), loss="when models were last used is forgotten") or {}

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
                write_state(self._file, msgspec.json.encode(self._at))
            except OSError:
                self._changed = True
                raise
