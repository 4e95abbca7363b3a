"""The move of a removed model from the trash back to its place."""

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmx_daemon.contract.errors import CancelledError, ConflictError
from lmx_daemon.library.disk.layout import RepositoryPaths, current_commit
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.storage.durable import sync_folder


def restore_model(identity: str, content: Path, place: Path, left: Path, cached: bool) -> None:
    """Move the model's folder back to `place`.

    A folder without a model, which a failed pull leaves in the cache, is moved to `left`, and its blobs are kept.
    Raises ConflictError when a model is at `place` or is being pulled there, OSError.
    """
    _refuse_model(identity, content, place, cached)
    if not (cached and os.path.lexists(place)):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(content, place)
        sync_folder(place.parent)
        return
    with _pull_lock(identity, place):
        _refuse_model(identity, content, place, cached)  # a pull may have ended since
        shutil.rmtree(left, ignore_errors=True)  # of a restoration that was killed
        os.rename(place, left)
        try:
            os.rename(content, place)
        except OSError:
            os.rename(left, place)
            raise
        sync_folder(place.parent)
        _keep_blobs(left / "blobs", place / "blobs")


@contextmanager
def _pull_lock(identity: str, place: Path) -> Iterator[None]:
    """Hold the lock of the repository. Raises ConflictError while a pull has it."""
    try:
        with locked_now(RepositoryPaths(place.parent, identity)):
            yield
    except CancelledError:
        raise ConflictError(
            f"{identity} is being pulled",
            hint="cancel the pull first (`lmx downloads` shows it), then restore the model",
        ) from None


def _refuse_model(identity: str, content: Path, place: Path, cached: bool) -> None:
    """Raise ConflictError when there is more at `place` than an empty folder or a repository without a snapshot.

    The hint names the entry by its key, since the id also names the newer model once that is in the trash.
    """
    inner = place / "snapshots" if cached else place
    if place.is_symlink() or (os.path.lexists(inner) and (not inner.is_dir() or any(inner.iterdir()))):
        model = content / "snapshots" / (current_commit(content) or "") if cached else content
        raise ConflictError(
            f"{place} is taken, so the removed {identity} cannot return to it; it stays in the trash until its time",
            hint=f"remove what is there (lmx rm {identity}), then: lmx rm --undo {content.parent.name}\n"
            f"to keep both: lmx import {shlex.quote(str(model))} --copy --as {identity.rpartition(':')[2]}-restored",
        )


def _keep_blobs(left: Path, blobs: Path) -> None:
    """Move the files that a pull has fetched to the restored model, where the next pull finds them."""
    if left.is_symlink() or blobs.is_symlink() or not left.is_dir() or not blobs.is_dir():
        return
    for file in left.iterdir():
        if not os.path.lexists(blobs / file.name):
            with suppress(OSError):
                os.rename(file, blobs / file.name)
