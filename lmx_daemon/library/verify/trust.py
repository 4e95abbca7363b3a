"""Users' permissions for the code of models: each for one model at one revision, with the code that it had then."""

import logging
import time
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import RequestError, UntrustedModelError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import Model
from lmx_daemon.library.verify.code_files import fingerprint
from lmx_daemon.storage.failed_write import failed_write
from lmx_daemon.storage.state import write_state
from lmx_daemon.storage.versions import VersionedState

MAX_SHOWN = 3
"""Number of code files that the error of an untrusted model names."""
MIN_REVISION = 7
"""Shortest abbreviation of a commit that grants trust."""


class TrustedCode(Frozen, frozen=True):
    """Permission for a model at one revision, with the fingerprint of its code."""

    id: str
    revision: str
    fingerprint: str
    at: float = 0.0


class TrustFile(Frozen, frozen=True):
    """Content of the file."""

    models: tuple[TrustedCode, ...] = ()


STATE = VersionedState(TrustFile, [lambda models: {"models": models}])


class TrustStore:
    """The permissions, kept in one file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._allowed = self._read()

    def list(self) -> "list[TrustedCode]":
        """Return the permissions, sorted by model."""
        return _by_model(self._allowed)

    def is_listed(self, model: Model) -> bool:
        """Return whether the model's revision is trusted. The files are not compared: see `allows`."""
        found = self._allowed.get(model.id)
        return found is not None and found.revision == code_revision(model)

    def allows(self, model: Model) -> bool:
        """Return whether the model's code is trusted and unchanged since. Reads the code files."""
        found = self._allowed.get(model.id)
        return found is not None and self.is_listed(model) and found.fingerprint == fingerprint(Path(model.path))

    def allow(self, model: Model, revision: str | None) -> TrustedCode:
        """Trust the code of a model at `revision`.

        Raises RequestError when that is not the installed revision, or when the model has no code, and DiskError when
        the permission cannot be written; then nothing has changed.
        """
        installed = code_revision(model)
        named = f"{model.id}@{installed}"
        if not model.code:
            raise RequestError(f"{model.id} has no code that could be trusted", param="id")
        if revision is None or len(revision) < MIN_REVISION or not installed.startswith(revision):
            raise RequestError(
                f"name the revision whose code you have read: {named}", param="id", hint=f"lmx trust {named}"
            )
        allowed = TrustedCode(
            id=model.id, revision=installed, fingerprint=fingerprint(Path(model.path)), at=time.time()
        )
        self._replace(self._allowed | {model.id: allowed})
        return allowed

    def withdraw(self, identity: str) -> bool:
        """Remove a model's permission, and return whether there was one. Raises DiskError; then nothing has changed."""
        if identity not in self._allowed:
            return False
        self._replace({name: found for name, found in self._allowed.items() if name != identity})
        return True

    def _read(self) -> dict[str, TrustedCode]:
        found = STATE.read(self._file, level=logging.ERROR, loss="no model's code is trusted now")
        return {entry.id: entry for entry in (found.models if found else ())}

    def _replace(self, allowed: dict[str, TrustedCode]) -> None:
        """Write the permissions, and put them in force once they are on the disk. Raises DiskError."""
        content = STATE.encode(TrustFile(models=tuple(_by_model(allowed))))
        try:
            write_state(self._file, msgspec.json.format(content))
        except OSError as error:
            raise failed_write("the permission was not written", self._file, error) from error
        self._allowed = allowed


def _by_model(allowed: dict[str, TrustedCode]) -> list[TrustedCode]:
    return sorted(allowed.values(), key=lambda found: found.id)


def code_revision(model: Model) -> str:
    """Return the model's commit, or the fingerprint of its code if it has no commit."""
    return model.revision or fingerprint(Path(model.path))[:40]


def untrusted_code(identity: str, code: tuple[str, ...]) -> UntrustedModelError:
    """Return the error of a model whose code is not trusted."""
    shown = ", ".join(code[:MAX_SHOWN]) + (f" and {len(code) - MAX_SHOWN} more" if len(code) > MAX_SHOWN else "")
    return UntrustedModelError(
        f"{identity} would run code of its own ({shown}), and lmx runs none without permission",
        hint=f"use another version of the model, or read its code and allow it: lmx trust {identity}",
    )
