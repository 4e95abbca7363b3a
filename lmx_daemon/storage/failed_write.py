"""The errors of durable writes that failed, each with what to do about it. Pure."""

import errno
from pathlib import Path

from lmx_daemon.contract.errors import DiskError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk, or of a user's part of it, that is full."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Error numbers of a folder or a disk that refuses writes."""


def failed_write(what: str, file: Path, error: OSError) -> DiskError:
    """Return the error of a file that was not written. `what` names its content: "the API keys were not written"."""
    return DiskError(f"{what}: {error.strerror or error}", hint=remedy(file, error))


def remedy(file: Path, error: OSError) -> str:
    """Return what makes a write of `file` possible again."""
    if error.errno in FULL:
        return f"free some space on the disk of {file.parent}, and try again; nothing was changed"
    if error.errno in FORBIDDEN:
        return f"make {file.parent} writable, and try again; nothing was changed"
    return f"check the disk of {file.parent}, and try again"
