"""Aliases that commands and clients have made, in a state file. Those of config.toml are in the settings."""

from collections.abc import Mapping
from pathlib import Path

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.failed_write import failed_write
from lmx_daemon.storage.versions import VersionedState


class AliasFile(Frozen, frozen=True):
    """Content of the state file."""

    aliases: dict[str, tuple[str, ...]] = {}


STATE = VersionedState(AliasFile)


class SavedAliases:
    """The aliases of one home. A change is on the disk before it takes effect."""

    def __init__(self, file: Path) -> None:
        self._file = file
        found = STATE.read(file, loss="aliases made by `lmx alias set` are missing")
        self.aliases: Mapping[str, tuple[str, ...]] = found.aliases if found is not None else {}

    def replace(self, aliases: Mapping[str, tuple[str, ...]]) -> None:
        """Write all aliases. Blocks. Raise DiskError and change nothing if the write fails."""
        try:
            STATE.write(self._file, AliasFile(aliases=dict(aliases)))
        except OSError as error:
            raise failed_write("the aliases were not written", self._file, error) from error
        self.aliases = dict(aliases)
