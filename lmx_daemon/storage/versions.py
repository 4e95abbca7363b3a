"""State files that carry their version: JSON objects with the key `version`.

An older file is migrated when it is read, and a copy of it is kept as `<name>.v<version>`. A newer file is refused: it
is neither changed nor renamed, so that the newer lmx finds it again.
"""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from lmx_daemon.contract.errors import NewerStateError
from lmx_daemon.storage.durable import write_file
from lmx_daemon.storage.state import MAX_BYTES, read_state, write_state

T = TypeVar("T")
Migration = Callable[[Any], Any]
"""Function from the plain JSON value of one version to that of the next one."""
FAULTS = (KeyError, IndexError, TypeError, AttributeError)
"""Errors of a migration for content that is not of its version."""
LOGGER = logging.getLogger("lmx.state")


class _Header(msgspec.Struct):
    version: Any = 1


class VersionedState(Generic[T]):
    """The form of one kind of state file. Its version is the number of its migrations and 1.

    A file without the key has version 1, since the first files had none.
    """

    def __init__(self, kind: type[T], migrations: Sequence[Migration] = ()) -> None:
        """`migrations[0]` makes version 2 of version 1; `kind` is a struct, whose fields do not include `version`."""
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)
        self._migrations = tuple(migrations)

    @property
    def version(self) -> int:
        """Version of the files that are written."""
        return len(self._migrations) + 1

    def read(self, file: Path, *, limit: int = MAX_BYTES, level: int = logging.WARNING, loss: str = "") -> T | None:
        """Return the state, or None if the file is missing or unreadable, as `read_state` does.

        Raises NewerStateError for a file of a newer version.
        """
        older: list[tuple[int, bytes]] = []

        def decode(content: bytes) -> T:
            version = version_of(content)
            if version < self.version:
                older.append((version, content))
            return self._decoded(content, version, file)

        found = read_state(file, decode, limit=limit, level=level, loss=loss)
        if found is not None and older:
            self._replace(file, *older[0], found)
        return found

    def decode(self, content: bytes, file: Path) -> T:
        """Return the state in `content`; nothing is written. Raises NewerStateError, and UNREADABLE for damage."""
        return self._decoded(content, version_of(content), file)

    def encode(self, value: T) -> bytes:
        """Return the content of a file."""
        fields = msgspec.json.encode(value)
        return b'{"version":%d%s' % (self.version, b"}" if fields == b"{}" else b"," + fields[1:])

    def write(self, file: Path, value: T) -> None:
        """Write the file. Raises OSError."""
        write_state(file, self.encode(value))

    def _decoded(self, content: bytes, version: int, file: Path) -> T:
        if version > self.version:
            raise newer_state(file, version, self.version)
        if version == self.version:
            return self._decoder.decode(content)
        try:
            value = json.loads(content)
            for migration in self._migrations[version - 1 :]:
                value = migration(value)
        except FAULTS as error:
            raise ValueError(f"it cannot be migrated from version {version}: {type(error).__name__}") from error
        return msgspec.convert(value, self._kind)

    def _replace(self, file: Path, version: int, content: bytes, value: T) -> None:
        """Keep a copy of the older file, and write the new one. A failure leaves the older one for the next start."""
        copy = file.with_name(f"{file.name}.v{version}")
        with suppress(OSError):
            write_file(copy, content, 0o600)
            self.write(file, value)
            LOGGER.info("%s was migrated from version %d to %d; %s is kept", file, version, self.version, copy.name)


def newer_state(file: Path, version: int, known: int) -> NewerStateError:
    """Return the error of a file that a newer lmx has written."""
    return NewerStateError(
        f"{file} has version {version}, and this lmx supports versions up to {known}",
        hint=f"upgrade lmx, or move {file.name} away to begin without it",
    )


def version_of(content: bytes) -> int:
    """Return the version of a file; 1 for JSON that is not an object. Raises an error of UNREADABLE for damage."""
    try:
        version = msgspec.json.decode(content, type=_Header).version
    except msgspec.ValidationError:
        return 1
    if type(version) is not int or version < 1:
        raise ValueError(f"its version is {version!r}"[:100])
    return version
