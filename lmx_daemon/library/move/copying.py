"""The copy of one file, with its proof: the bytes at the target are read again and hashed before they get their name.

A copy that was interrupted is continued; its earlier bytes are proved with the others.
"""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lmx_daemon.contract.errors import CancelledError, DiskError
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.disk.links import refuse_link
from lmx_daemon.library.verify.hashing import Hash, hash_into, new_hash
from lmx_daemon.storage.durable import open_owned, sync_file, sync_folder

CHUNK_BYTES = 1 << 20
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of disks on which a file cannot get a second name."""
OnBytes = Callable[[int], None]


def copy_proved(
    source: Path,
    target: Path,
    partial: Path,
    stated: str | None,
    stop: threading.Event,
    on_bytes: OnBytes,
    *,
    hard_links: bool = True,
) -> str:
    """Copy a file, prove the copy, and return the hash. On one disk, give the file a second name and return "".

    `hard_links` allows the second name. `partial` is the path of the unfinished copy, on the disk of the target.
    `on_bytes` counts each byte twice: when it is copied and when it is read again. Raises CancelledError, DiskError if
    the file changes meanwhile or the copy differs, OSError.
    """
    refuse_link(partial.parents[1], partial.parent)
    partial.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if hard_links and _link(source, target):
        on_bytes(2 * source.stat().st_size)
        return ""
    for _ in range(2):  # an interrupted copy can have wrong bytes; the second copy begins empty
        digest = _copy(source, partial, stated, stop, on_bytes)
        if hash_of(partial, stated, stop, on_bytes) == digest:
            os.replace(partial, target)
            sync_folder(target.parent)
            return digest
        partial.unlink()
    raise DiskError(
        f"{valid_text(str(target))} was written twice, and its bytes differed each time they were read again",
        hint="the disk is faulty; check it before you use it",
    )


def hash_of(file: Path, stated: str | None, stop: threading.Event, on_bytes: OnBytes) -> str:
    """Return the hash of a file as it is on the disk, not in the system's cache where that can be avoided."""
    with open_owned(file, "rb", buffering=0) as opened:
        _bypass_cache(opened.fileno())
        digest = _new_hash(stated, os.fstat(opened.fileno()).st_size)
        hash_into(digest, opened, stop, on_bytes)
    return str(digest.hexdigest())


def _link(source: Path, target: Path) -> bool:
    """Give the file a second name at the target. Return False if the disks differ or do not support it."""
    if source.stat().st_dev != target.parent.stat().st_dev:
        return False
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in NO_LINK:
            return False
        raise
    sync_folder(target.parent)
    return True


def _copy(source: Path, partial: Path, stated: str | None, stop: threading.Event, on_bytes: OnBytes) -> str:
    """Append the missing bytes to the copy, set the times of the source, and return the hash of the whole source."""
    with open_owned(source, "rb", buffering=0) as read, open_owned(partial, "ab", buffering=0) as written:
        before = os.fstat(read.fileno())
        if os.fstat(written.fileno()).st_size > before.st_size:
            written.truncate(0)
        have, position = os.fstat(written.fileno()).st_size, 0
        digest = _new_hash(stated, before.st_size)
        while chunk := read.read(CHUNK_BYTES):
            if stop.is_set():
                raise CancelledError("the move was stopped")
            digest.update(chunk)
            missing = chunk[max(0, have - position) :]
            while missing:
                missing = missing[written.write(missing) :]
            position += len(chunk)
            on_bytes(len(chunk))
        after = os.fstat(read.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or position != before.st_size:
            raise DiskError(
                f"{valid_text(str(source))} was changed while it was copied",
                hint="end the program that writes to it, and run the command again",
            )
        with suppress(OSError):  # some network disks refuse it
            os.fchmod(written.fileno(), stat.S_IMODE(before.st_mode))
        os.utime(written.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        sync_file(written.fileno())
    return str(digest.hexdigest())


def _new_hash(stated: str | None, size: int) -> Hash:
    return new_hash(stated is None or len(stated) == 64, size)


def _bypass_cache(descriptor: int) -> None:
    """Request that reads bypass the cache. If the system refuses, the proof covers the bytes in its cache only."""
    with suppress(OSError):
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        elif (command := getattr(fcntl, "F_NOCACHE", None)) is not None:
            fcntl.fcntl(descriptor, command, 1)
