"""The move of one replaced revision to the trash and back: snapshot, manifest, and the blobs that only it uses."""

import os
from contextlib import suppress
from pathlib import Path

from lmx_daemon.contract.errors import CancelledError, ConflictError
from lmx_daemon.library.disk.layout import RepositoryPaths, manifest_file, read_ref, repository_folder, repository_id
from lmx_daemon.library.disk.links import file_at, refuse_link
from lmx_daemon.library.disk.prune import Removal
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.storage.durable import sync_folder, write_file

SNAPSHOT = "snapshot"
BLOBS = "blobs"
MANIFEST = "manifest.json"


def move_aside(removal: Removal, content: Path) -> None:
    """Move the revision into the new folder `content`. Raises OSError when the snapshot cannot be moved.

    The snapshot is moved first. Blobs that a crash or an error leaves behind are where its links expect them.
    """
    repository = repository_folder(removal.path)
    (content / BLOBS).mkdir(parents=True)
    os.rename(removal.path, content / SNAPSHOT)
    with suppress(OSError):
        os.rename(manifest_file(repository, removal.path.name), content / MANIFEST)
    for file in removal.files:
        now = file_at(file.path)
        if file.path.parent == repository / BLOBS and now is not None and now.identity == file.identity:
            with suppress(OSError):
                os.rename(file.path, content / BLOBS / file.path.name)
    for folder in (content, content / BLOBS, removal.path.parent, repository / BLOBS):
        with suppress(OSError):
            sync_folder(folder)


def restore(content: Path, snapshot: Path, replaced_by: str | None) -> None:
    """Move the revision back. `main` names it again if it still names the revision that replaced this one.

    Raises ConflictError when the rest of the model is missing or is being pulled, OSError, and DiskError for a linked
    folder.
    """
    folder = repository_folder(snapshot)
    paths = RepositoryPaths(folder.parent, repository_id(folder.name) or folder.name)
    try:
        with locked_now(paths):
            _restore_files(content, snapshot, replaced_by)
    except CancelledError:
        here = folder.is_dir()
        raise ConflictError(
            f"{paths.repo} is being pulled" if here else f"the model {paths.repo}, to which it belongs, is not here",
            hint="`lmx downloads` shows the pull" if here else "restore that model first",
        ) from None


def _restore_files(content: Path, snapshot: Path, replaced_by: str | None) -> None:
    folder = repository_folder(snapshot)
    refuse_link(folder, folder / BLOBS, snapshot, manifest_file(folder, snapshot.name).parent, folder / "refs")
    refuse_link(content.parent, content / BLOBS)
    for blob in sorted((content / BLOBS).iterdir()):
        if not os.path.lexists(folder / BLOBS / blob.name):
            os.rename(blob, folder / BLOBS / blob.name)
    sync_folder(folder / BLOBS)
    if (content / MANIFEST).exists():
        manifest = manifest_file(folder, snapshot.name)
        manifest.parent.mkdir(exist_ok=True)
        os.rename(content / MANIFEST, manifest)
    snapshot.parent.mkdir(exist_ok=True)
    os.rename(content / SNAPSHOT, snapshot)
    sync_folder(snapshot.parent)
    main = folder / "refs" / "main"
    if replaced_by is not None and read_ref(main) == replaced_by:
        write_file(main, snapshot.name.encode(), stage=folder / ".lmx" if (folder / ".lmx").is_dir() else None)
