"""Which models' own code may run: none, but those that were allowed by hand, for one revision and as it was then."""

import hashlib
import logging
import os
import time
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import RequestError, UntrustedModelError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.types import Model
from lmx_daemon.library.catalog.describe import CODE_FILES, CODE_SUFFIXES, PICKLE_SUFFIXES
from lmx_daemon.storage.reading import open_model_file
from lmx_daemon.storage.state import json_of, read_state, write_state

READ_BYTES = 1 << 20
SHOWN = 3


class TrustedCode(Frozen, frozen=True):
    """One allowance: of this id, at this revision, with these bytes of code."""

    id: str
    revision: str
    fingerprint: str
    at: float = 0.0


class TrustStore:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._allowed = self._read()

    def list(self) -> "list[TrustedCode]":
        return sorted(self._allowed.values(), key=lambda found: found.id)

    def knows(self, model: Model) -> bool:
        """Whether its code was allowed. Does not look at the files: that is allows()."""
        found = self._allowed.get(model.id)
        return found is not None and found.revision == revision_of(model)

    def allows(self, model: Model) -> bool:
        """Whether its code was allowed and is still the same. Reads the files of code."""
        found = self._allowed.get(model.id)
        return found is not None and self.knows(model) and found.fingerprint == fingerprint(Path(model.path))

    def allow(self, model: Model, revision: str | None) -> TrustedCode:
        """Raises RequestError where the revision is not the one that is here, or there is nothing to allow."""
        here = revision_of(model)
        named = f"{model.id}@{here}"
        if not model.code:
            raise RequestError(f"{model.id} has no code to be allowed", param="id")
        if revision is None or len(revision) < 7 or not here.startswith(revision):
            raise RequestError(
                f"name the revision whose code you have read: {named}", param="id", hint=f"lmx trust {named}"
            )
        allowed = TrustedCode(id=model.id, revision=here, fingerprint=fingerprint(Path(model.path)), at=time.time())
        self._allowed[model.id] = allowed
        self._write()
        return allowed

    def withdraw(self, identity: str) -> bool:
        """Whether there was something to withdraw."""
        found = self._allowed.pop(identity, None)
        if found is not None:
            self._write()
        return found is not None

    def _read(self) -> dict[str, TrustedCode]:
        found = read_state(
            self._file, json_of(list[TrustedCode]), level=logging.ERROR, loss="no model's code is trusted now"
        )
        return {entry.id: entry for entry in found or ()}

    def _write(self) -> None:
        write_state(self._file, msgspec.json.format(msgspec.json.encode(self.list())))


def revision_of(model: Model) -> str:
    """The commit; of a model without one, the fingerprint of its code stands for it."""
    return model.revision or fingerprint(Path(model.path))[:40]


def refuse_code(identity: str, code: tuple[str, ...]) -> UntrustedModelError:
    shown = ", ".join(code[:SHOWN]) + (f" and {len(code) - SHOWN} more" if len(code) > SHOWN else "")
    return UntrustedModelError(
        f"{identity} would run code of its own ({shown}), and lmx runs none",
        hint=f"use another version of the model, or read its code and allow it: lmx trust {identity}",
    )


def fingerprint(folder: Path) -> str:
    """A sha256 over every file that is code or names code; it changes when any of them does."""
    digest = hashlib.sha256()
    suffixes = (*CODE_SUFFIXES, *PICKLE_SUFFIXES)
    try:
        names = sorted(f.name for f in folder.iterdir() if f.name.endswith(suffixes) or f.name in CODE_FILES)
        for name in names:
            content = hashlib.sha256()
            with open_model_file(folder / name) as source:
                while chunk := source.read(READ_BYTES):
                    content.update(chunk)
            digest.update(os.fsencode(name) + f"\0{content.hexdigest()}\n".encode())
    except OSError:
        return ""
    return digest.hexdigest()
