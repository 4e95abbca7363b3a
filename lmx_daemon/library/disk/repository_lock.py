"""The lock of one repository in the cache, held over all processes while its files are written or removed.

The kernel frees the lock of a process that ends. Other programs do not take this lock.
"""

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lmx_daemon.contract.errors import CancelledError
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.links import refuse_link
from lmx_daemon.storage.durable import open_owned

POLL_SECONDS = 0.2


@contextmanager
def locked(
    paths: RepositoryPaths, stop: threading.Event, on_wait: Callable[[str | None], None] = lambda note: None
) -> Iterator[None]:
    """Hold the lock, after a wait while another holder has it. The repository's folder is made.

    `on_wait` receives the reason when a wait begins, and None when it ends. Raises CancelledError once `stop` is set,
    DiskError when the lock would be behind a link, OSError.
    """
    lock = paths.cache / ".locks" / f"{paths.folder.name}.lmx.lock"
    refuse_link(paths.cache, lock)
    paths.blobs.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(exist_ok=True)
    with open_owned(lock, "ab") as handle:
        waited = False
        while not _try_lock(handle.fileno()):
            if not waited:
                on_wait("another program pulls the same model; waiting until it has finished")
            waited = True
            if stop.wait(POLL_SECONDS):
                raise CancelledError("the pull was stopped")
        if waited:
            on_wait(None)
        paths.blobs.mkdir(parents=True, exist_ok=True)  # the folder may have been removed during the wait
        yield


@contextmanager
def locked_now(paths: RepositoryPaths) -> Iterator[None]:
    """Hold the lock without waiting. Raises CancelledError when it is taken, or when the repository is not there."""
    if not paths.folder.is_dir():
        raise CancelledError(f"{paths.repo} is not in the cache")
    stop = threading.Event()
    stop.set()
    with locked(paths, stop):
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
