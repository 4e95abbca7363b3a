"""One replaced revision on its way to the trash and back: its snapshot, its manifest, and the blobs of it alone."""

import os
from contextlib import suppress
from pathlib import Path

from lmx_daemon.contract.errors import CancelledError, ConflictError
from lmx_daemon.library.disk.links import file_at
from lmx_daemon.library.disk.prune import Removal
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from lmx_daemon.library.verify.manifest import manifest_file
from lmx_daemon.storage.durable import sync_folder, write_file

SNAPSHOT = "snapshot"
BLOBS = "blobs"
MANIFEST = "manifest.json"


def move_aside(removal: Removal, content: Path) -> None:
    """Move the revision into the new folder `content`. Raises OSError where the snapshot cannot be moved.

    The snapshot goes first and decides: what is left behind by a crash or an error is where its links expect it.
    """
    repository = removal.path.parents[1]
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


def bring_back(content: Path, snapshot: Path, replaced_by: str | None) -> None:
    """Move the revision back to where it was; `main` names it again where it still names the one that replaced it.

    Raises ConflictError where the model is not here or is being pulled, OSError.
    """
    folder = snapshot.parents[1]
    place = RepositoryWriter(folder.parent, folder.name.removeprefix("models--").replace("--", "/"))
    try:
        with place.locked_now():
            _bring_back(content, snapshot, replaced_by)
    except CancelledError:
        here = folder.is_dir()
        raise ConflictError(
            f"{place.repo} is being pulled" if here else f"the model {place.repo}, to which it belongs, is not here",
            hint="`lmx downloads` shows it" if here else "bring that one back first",
        ) from None


def _bring_back(content: Path, snapshot: Path, replaced_by: str | None) -> None:
    folder = snapshot.parents[1]
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
    with suppress(FileNotFoundError, UnicodeDecodeError):
        if replaced_by is not None and main.read_text().strip() == replaced_by:
            write_file(main, snapshot.name.encode(), stage=folder / ".lmx" if (folder / ".lmx").is_dir() else None)
