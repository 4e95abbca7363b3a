"""The translation of an operating system's error on the cache or the home folder into an error with a hint."""

import errno

from lmx_daemon.contract.errors import DiskError, LmxError


def disk_error(error: OSError) -> LmxError:
    """Return the error of lmx for an operating system's error, in one line with a hint."""
    name = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError("the disk is full", hint="free some space, and pull again: it continues where it stopped")
    if error.errno == errno.EROFS or isinstance(error, PermissionError):
        return DiskError(f"not allowed to write{name}", hint="check the owner of the cache, or set HF_HUB_CACHE")
    if isinstance(error, FileNotFoundError):
        return DiskError(f"a folder of the cache was removed:{name}", hint="pull again: it starts from the beginning")
    if isinstance(error, FileExistsError | NotADirectoryError):
        return DiskError(f"a file is in the way:{name}", hint="move it away, or set HF_HUB_CACHE to another folder")
    return DiskError(f"cannot write{name}: {error.strerror or error}", hint="check the Hugging Face cache's folder")
