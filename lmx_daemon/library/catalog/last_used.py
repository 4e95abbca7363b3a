"""The time of each model's last use, kept over restarts."""

import time
from pathlib import Path

import msgspec

from lmx_daemon.storage.state import json_of, read_state, write_state


class LastUsed:
    """Times of use by model, written to a file on request."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = False
        self._at = read_state(file, json_of(dict[str, float]), loss="the times of last use are lost") or {}

    def note(self, identity: str) -> None:
        """Record that a model is used now."""
        self._at[identity] = time.time()
        self._changed = True

    def at(self, identity: str) -> float | None:
        """Return the time of a model's last use; None if it was never used."""
        return self._at.get(identity)

    def save(self) -> None:
        """Write the times, if any has changed. Raises OSError."""
        if self._changed:
            self._changed = False  # before the write, so that a use during it is saved the next time
            try:
                write_state(self._file, msgspec.json.encode(self._at))
            except OSError:
                self._changed = True
                raise
