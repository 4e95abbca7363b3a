"""The time of each model's last use, kept over restarts."""

import time
from pathlib import Path

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.versions import VersionedState


class TimesOfUse(Frozen, frozen=True):
    """Content of the file: times by model."""

    models: dict[str, float] = {}


STATE = VersionedState(TimesOfUse, [lambda times: {"models": times}])


class LastUsed:
    """Times of use by model, written to a file on request."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = False
        self._at = dict((STATE.read(file, loss="the times of last use are lost") or TimesOfUse()).models)

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
                STATE.write(self._file, TimesOfUse(models=self._at))
            except OSError:
                self._changed = True
                raise
