"""Aliases that commands and clients have made, in a state file. Those of config.toml are in the settings."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import DiskError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.state import json_of, read_state, write_state

FORMAT = 1


class AliasFile(Frozen, frozen=True):
    """Content of the state file."""

    version: int = FORMAT
    aliases: dict[str, tuple[str, ...]] = {}


DECODE = json_of(AliasFile)


class SavedAliases:
    """The aliases of one home. A change is on the disk before it takes effect."""

    def __init__(self, file: Path) -> None:
        self._file = file
        found = read_state(file, decoded, loss="aliases made by `lmx alias set` are missing")
        self.aliases: Mapping[str, tuple[str, ...]] = found.aliases if found is not None else {}

    def replace(self, aliases: Mapping[str, tuple[str, ...]]) -> None:
        """Write all aliases. Blocking. Raise DiskError; then nothing has changed."""
        content = msgspec.json.encode(AliasFile(aliases=dict(aliases)))
        try:
            write_state(self._file, content)
        except OSError as error:
            raise DiskError(f"the aliases were not written: {error.strerror or error}") from error
        self.aliases = dict(aliases)


def decoded(content: bytes) -> AliasFile:
    """Return the content of a state file. Raise ValueError for one that a newer version of lmx has written."""
    found = DECODE(content)
    if found.version > FORMAT:
        raise ValueError(f"its format {found.version} is that of a newer lmx")
    return found
