"""The layout of the Hugging Face cache: names of repository folders, blobs, snapshots, refs, and lmx's own files.

    <cache>/models--<owner>--<name>/blobs/<hash>                   bytes of a file
                                    blobs/<hash>.lmx.incomplete    bytes fetched so far (lmx)
                                    snapshots/<commit>/<path>      links to blobs
                                    refs/<revision>                the commit that a branch or tag names
                                    .lmx/<commit>.json             manifest (lmx)
                                    .lmx/quarantine/<hash>         bytes with a wrong hash (lmx)
    <cache>/.locks/                                                locks, and lmx's trash

Other programs read and write the same folders. This module computes paths and reads refs; it changes nothing.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lmx_daemon.library.verify.manifest import ManifestFile
from lmx_daemon.storage.foreign.reading import read_model_file

REPOSITORY_FOLDER = re.compile(r"models--([A-Za-z0-9][\w.-]*)--([A-Za-z0-9][\w.-]*)")
COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
"""Name of a blob: git's SHA-1 or SHA-256."""
MAX_REF_BYTES = 1024


@dataclass(frozen=True)
class RepositoryPaths:
    """Paths of one repository in the cache."""

    cache: Path
    repo: str
    """The repository's id, `owner/name`."""

    @property
    def folder(self) -> Path:
        """The repository's folder, `models--<owner>--<name>`."""
        return self.cache / f"models--{self.repo.replace('/', '--')}"

    @property
    def blobs(self) -> Path:
        """The folder of blobs."""
        return self.folder / "blobs"

    @property
    def own(self) -> Path:
        """The folder of lmx's own files."""
        return self.folder / ".lmx"

    @property
    def quarantine(self) -> Path:
        """The folder of bytes whose hash was wrong."""
        return self.own / "quarantine"

    def blob(self, file: ManifestFile) -> Path:
        """Return the path of a file's blob."""
        return self.blobs / file.blob

    def partial(self, file: ManifestFile) -> Path:
        """Return the path of the bytes of a file that are fetched so far."""
        return self.blobs / f"{file.blob}.lmx.incomplete"

    def snapshot(self, commit: str) -> Path:
        """Return the folder of a commit."""
        return self.folder / "snapshots" / commit

    def manifest(self, commit: str) -> Path:
        """Return the path of a commit's manifest."""
        return manifest_file(self.folder, commit)

    def stored(self, commit: str, file: ManifestFile) -> Path:
        """Return where a file's bytes are: the blob, or the snapshot's own file on a disk without symbolic links."""
        own = self.snapshot(commit) / file.path
        return own if own.is_file() and not own.is_symlink() and not self.blob(file).exists() else self.blob(file)


def repository_id(folder_name: str) -> str | None:
    """Return the id of the repository whose folder has this name; None for any other folder of the cache."""
    match = REPOSITORY_FOLDER.fullmatch(folder_name)
    return f"{match[1]}/{match[2]}" if match else None


def repository_folder(snapshot: Path) -> Path:
    """Return the folder of the repository to which a snapshot belongs."""
    return snapshot.parents[1]


def manifest_file(folder: Path, commit: str) -> Path:
    """Return the path of the manifest of a commit; `folder` is the repository's."""
    return folder / ".lmx" / f"{commit}.json"


def read_ref(file: Path) -> str:
    """Return the commit that a ref names; "" if the file is missing, irregular, or too large for a ref."""
    try:
        return (read_model_file(file, MAX_REF_BYTES) or b"").decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def current_commit(folder: Path) -> str | None:
    """Return the commit that the ref `main` names, else the newest snapshot's; `folder` is the repository's."""
    named = read_ref(folder / "refs" / "main")
    try:
        if COMMIT.fullmatch(named) and (folder / "snapshots" / named).is_dir():
            return named
        snapshots = [found for found in (folder / "snapshots").iterdir() if COMMIT.fullmatch(found.name)]
        return max(snapshots, key=lambda found: found.stat().st_mtime).name if snapshots else None
    except OSError:
        return None
