"""Choices: how the user left the screens (sort order, hidden panes, the open screen), kept in $LMX_HOME/tui.json.

Settings are in config.toml; a choice is made by using a screen. The file is never required.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

import msgspec

from lmx_daemon.contract.errors import NewerStateError
from lmx_daemon.storage.versions import VersionedState


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """The choices of the last run. Unknown keys of the file are ignored."""

    screen: str = "models"
    chat: str = ""
    """Id of the open chat."""
    models_sort: str = "used"
    models_reverse: bool = False
    monitor_window: int = 60
    monitor_hidden: tuple[str, ...] = ()
    """Names of the Monitor's panes that are hidden."""
    logs_level: str = "info"
    logs_pane: str = "log"
    """Part of the Logs screen that is shown: "log" or "requests"."""


STATE = VersionedState(Choices)


class ChoicesFile:
    """The file of the choices. `path` None keeps nothing, and neither does a file of a newer lmx."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written: Choices | None = None
        self.refused: NewerStateError | None = None
        """Error of a file that a newer lmx has written, which stays as it is."""

    def read(self) -> Choices:
        """Return the choices, or the defaults if the file is missing or damaged."""
        if self._path is None:
            return Choices()
        try:
            self._written = STATE.read(self._path, level=logging.DEBUG)
        except NewerStateError as error:
            self._path, self.refused = None, error
        return self._written or Choices()

    def write(self, choices: Choices) -> None:
        """Write the choices if they differ from the file. A full disk loses them and nothing else."""
        if self._path is None or choices == (self._written or Choices()):
            return
        with contextlib.suppress(OSError):
            STATE.write(self._path, choices)
            self._written = choices


def changed(choices: Choices, changes: dict[str, Any]) -> Choices:
    """Return the choices with some of them replaced."""
    return msgspec.structs.replace(choices, **changes)
