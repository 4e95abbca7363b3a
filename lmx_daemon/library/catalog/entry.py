"""The catalog's entry of one model: the boundary at which any error in its files becomes a `problem` of the entry."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from lmx_daemon.contract.models import Model
from lmx_daemon.contract.text import encodable, valid_text
from lmx_daemon.library.catalog.describe import describe
from lmx_daemon.library.catalog.roots import ModelFolder

LOGGER = logging.getLogger("lmx.catalog")
UNDESCRIBED = "it cannot be described: see the log (`lmx status` shows its path)"
"""Problem of a model for which the description failed in a way that lmx does not expect."""


def describe_folder(found: ModelFolder) -> Model | None:
    """Return the model, or an entry with the reason why it cannot be described; None when there is no model."""
    try:
        if valid_text(str(found.folder)) != str(found.folder):
            return _broken(found, "its path is not UTF-8: rename the folder")
        model = describe(found.id, found.folder, found.source, found.revision)
        return None if model is None else _encodable(model)
    except (FileNotFoundError, NotADirectoryError):  # it was removed
        return None
    except OSError as error:
        return _broken(found, f"it cannot be read: {error.strerror or error}")
    except Exception:  # the description of one model: an error in it must not hide the others
        LOGGER.exception("%s cannot be described", found.id)
        return _broken(found, UNDESCRIBED)


def completed(model: Model, complete: Callable[[Model], Model]) -> Model:
    """Return the model completed by what is not in its files, or with a problem."""
    try:
        return complete(model)
    except Exception:  # the description of one model, as above
        LOGGER.exception("%s cannot be described", model.id)
        return msgspec.structs.replace(model, problem=UNDESCRIBED)


def key_of(found: ModelFolder) -> str:
    """Return a text that is unique for a folder, and valid even if the folder's path is not."""
    return f"{found.source}:{found.id}:{os.fsencode(found.folder).decode(errors='backslashreplace')}"


def stamp_of(folder: Path) -> str:
    """Return a text that changes with the folder's list of files, and with the size or time of a file."""
    digest = hashlib.blake2b(os.fsencode(folder), digest_size=16)
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                try:
                    status = entry.stat()
                    state = f"\0{status.st_size} {status.st_mtime_ns} {status.st_ino}\n"
                except OSError:  # a broken link
                    state = "\0-\n"
                digest.update(os.fsencode(entry.name) + state.encode())
    except OSError:
        return ""
    return digest.hexdigest()


def _broken(found: ModelFolder, problem: str) -> Model:
    entry = Model(id=found.id, path=str(found.folder), source=found.source, revision=found.revision, problem=problem)
    return _encodable(entry)


def _encodable(model: Model) -> Model:
    """Return the model with valid text and bounded integers, whatever its files contain."""
    return msgspec.convert(encodable(msgspec.to_builtins(model)), Model)
