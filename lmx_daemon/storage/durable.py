"""Files that lmx owns: opened without following a link, and written atomically and durably.

`sync_file` is the barrier of every durable write. On macOS `os.fsync` leaves data in the cache of the drive, which only
F_FULLFSYNC writes out.
"""

import errno
import fcntl
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

SUFFIX = ".lmx"
"""Suffix of temporary files."""
UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY)
"""Error numbers of file systems that do not support F_FULLFSYNC, such as network disks."""


def sync_file(descriptor: int) -> None:
    """Block until the data of the file or folder is on the disk, not only in its cache. Raises OSError."""
    command = getattr(fcntl, "F_FULLFSYNC", None)
    if command is not None:
        try:
            fcntl.fcntl(descriptor, command)
            return
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Write created, changed and removed names of the folder to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def open_regular(file: str | os.PathLike[str], flags: int, follow: bool = False) -> int:
    """Return a descriptor of a regular file; usable as `opener`. A new file is readable by its owner only.

    Raises OSError for a FIFO, a folder, and a link unless `follow` is set.
    """
    descriptor = os.open(file, flags | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", os.fspath(file))
    return descriptor


def open_owned(file: Path, mode: str, buffering: int = -1) -> IO[Any]:
    """Open a regular file of lmx in a binary mode. Raises OSError, also for a link in its place."""
    return open(file, mode, buffering, opener=open_regular)


def read_regular(file: Path, limit: int, *, follow: bool = False) -> bytes:
    """Return the content. Raises OSError, with EFBIG for more than `limit` bytes."""
    with open(open_regular(file, os.O_RDONLY, follow), "rb") as opened:
        content = opened.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit} bytes", str(file))
    return content


def write_file(file: Path, content: bytes, mode: int = 0o644, stage: Path | None = None) -> None:
    """Write the file atomically and durably: after a power cut, either the old or the new content is there.

    The temporary file is in `stage`, by default beside the file; a failed write removes it. Raises OSError; then the
    old content is there, except on a file system without hard links.
    """
    temporary = (stage or file.parent) / f".{file.name}.{os.getpid()}.{threading.get_ident()}{SUFFIX}"
    with suppress(FileNotFoundError):  # of a process that was killed, or planted
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as output:
            output.write(content)
            output.flush()
            sync_file(output.fileno())
        _replace(temporary, file)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _replace(temporary: Path, file: Path) -> None:
    """Give a written file its name, and sync the folder. If that fails, the file before gets its name back.

    A caller whose write has failed continues with the old content, which must then be that of the disk. Raises OSError.
    """
    former = temporary.with_name(f"{temporary.name.removesuffix(SUFFIX)}.former{SUFFIX}")
    linked = _linked(file, former)
    try:
        os.replace(temporary, file)
        try:
            sync_folder(file.parent)
        except OSError:
            with suppress(OSError):
                if linked:
                    os.replace(former, file)
                elif linked is None:
                    file.unlink()
            raise
    finally:
        with suppress(OSError):
            former.unlink()


def _linked(file: Path, former: Path) -> bool | None:
    """Give the file a second name, and return whether it has that now; None if there is no file."""
    try:
        former.unlink(missing_ok=True)  # of a process that was killed, or planted
        os.link(file, former, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except (OSError, NotImplementedError):
        return False
    return True


def sweep_temporary(folder: Path) -> None:
    """Remove temporary files of killed processes directly in `folder`. Call it at the start, before any write."""
    with suppress(OSError):
        for file in folder.glob(f".*{SUFFIX}"):
            if file.is_file() or file.is_symlink():
                file.unlink(missing_ok=True)
