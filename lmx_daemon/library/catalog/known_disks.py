"""The folders of models on other disks, so that a disk that is not mounted is named and its models stay listed.

For each such folder, a file in the home keeps the place where its disk is mounted, and the models of the last scan.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import DiskError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.text import valid_text
from lmx_daemon.storage.state import json_of, read_state, write_state


class KnownFolder(Frozen, frozen=True):
    """A folder of models on a disk other than the home's."""

    mount: str
    """Path at which its disk was mounted."""
    models: tuple[Model, ...] = ()


DECODE = json_of(dict[str, KnownFolder])


class KnownDisks:
    """The known folders. `is_mount` returns whether a disk is mounted at a path. The thread of a scan calls it."""

    def __init__(self, file: Path, home: Path, is_mount: Callable[[str], bool] = os.path.ismount) -> None:
        self._file = file
        self._home = home
        self._is_mount = is_mount
        self._known = read_state(file, DECODE, loss="models on disks that are not mounted are not listed") or {}

    def note(self, folder: Path, models: Sequence[Model]) -> None:
        """Record the models of a folder that was read, if it is on another disk than the home."""
        mount = self._mount_of(folder)
        known = dict(self._known)
        known.pop(_key(folder), None)
        if models and mount not in ("/", self._mount_of(self._home)):
            plain = tuple(msgspec.structs.replace(model, used_at=None) for model in models)
            known[_key(folder)] = KnownFolder(mount=mount, models=plain)
        if known != self._known:
            self._known = known
            with suppress(OSError):  # the models are then listed as long as the daemon runs
                write_state(self._file, msgspec.json.encode(known))

    def absent_models(self, folder: Path) -> list[Model]:
        """Return the models of a folder whose disk is not mounted, each with that problem; none for other folders."""
        known = self._known.get(_key(folder))
        if known is None or self._is_mount(known.mount):
            return []
        return [msgspec.structs.replace(model, problem=_problem(known.mount)) for model in known.models]

    def refuse_absent(self, path: Path) -> None:
        """Raise DiskError if `path` is in a known folder that is not there, since its disk is not mounted."""
        for name, known in self._known.items():
            folder = Path(name)
            if path.is_relative_to(folder) and not self._is_mount(known.mount) and not _has_entries(folder):
                raise DiskError(_problem(known.mount), hint=f"connect the disk; lmx expects its models in {name}")

    def _mount_of(self, folder: Path) -> str:
        path = os.path.realpath(folder)
        while not self._is_mount(path) and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return valid_text(path)


def _problem(mount: str) -> str:
    return f"disk not mounted: {mount}"


def _key(folder: Path) -> str:
    return valid_text(str(folder))


def _has_entries(folder: Path) -> bool:
    try:
        return any(not name.startswith(".") for name in os.listdir(folder))
    except OSError:
        return False
