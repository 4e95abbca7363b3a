"""Reading and writing of state files. An unreadable file never stops a program and is never overwritten.

It is renamed to `<name>.unreadable-<time>`, with a line in the log, and the state starts empty.
"""

import errno
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from lmx_daemon.contract.text import valid_text
from lmx_daemon.storage.durable import read_regular, write_file

T = TypeVar("T")
MAX_BYTES = 32 * 1024 * 1024
KEPT = 3
"""Number of unreadable copies of one file that are kept; older ones are deleted."""
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""Errors of decoders for damaged content; UnicodeDecodeError is a ValueError."""
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
"""Errors of the process and not of the file."""
LOGGER = logging.getLogger("lmx.state")


def json_of(kind: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(kind).decode


def msgpack_of(kind: type[T]) -> Callable[[bytes], T]:
    return msgspec.msgpack.Decoder(kind).decode


def read_state(
    file: Path, decode: Callable[[bytes], T], *, limit: int = MAX_BYTES, level: int = logging.WARNING, loss: str = ""
) -> T | None:
    """Return the decoded state, or None if the file is missing or unreadable. `loss` describes what is lost."""
    try:
        return decode(read_regular(file, limit))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror or str(error)
        renamed = rename_unreadable(file) if error.errno not in PASSING else None
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        renamed = rename_unreadable(file)
    kept = f"it is kept as {renamed.name}" if renamed else "it could not be renamed"
    message = f"{file} cannot be read ({reason}); {kept}" + (f"; {loss}" if loss else "")
    LOGGER.log(level, "%s", valid_text(message))
    return None


def write_state(file: Path, content: bytes) -> None:
    """Write the file, readable by its owner only, and create its folder if it is missing. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(file, content, 0o600)


def rename_unreadable(file: Path) -> Path | None:
    """Rename an unreadable file, and return its new path, or None if that fails."""
    renamed = file.with_name(f"{file.name}.unreadable-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        file.rename(renamed)
    except OSError:
        return None
    with suppress(OSError):
        older = sorted(found for found in file.parent.iterdir() if found.name.startswith(f"{file.name}.unreadable-"))
        for old in older[:-KEPT]:
            old.unlink()
    return renamed
