"""A cache with all kinds of entries, its move without a daemon, and the comparison of what a cache holds."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.links import LinkHolder
from lmx_daemon.library.move.ledger import Ledger, MoveRecord, read_ledger
from lmx_daemon.library.move.move_progress import MoveProgress
from lmx_daemon.library.move.move_run import MoveRun
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile, write_manifest
from tests.library.repositories import make_cached

ONE, TWO = "1" * 40, "2" * 40


def make_cache(cache: Path) -> Path:
    """Make two models, one with two revisions and a manifest, a partial file, and a data set."""
    make_cached(cache, "maker/one", ONE, side=30)
    snapshot = make_cached(cache, "maker/one", TWO, side=40)
    make_cached(cache, "maker/two", ONE, side=50)
    (snapshot.parents[1] / "blobs" / ("e" * 64 + ".lmx.incomplete")).write_bytes(bytes(500))
    (cache / "datasets--maker--texts" / "blobs").mkdir(parents=True)
    prove(cache, "maker/one", TWO)
    return cache


def prove(cache: Path, repo: str, commit: str) -> None:
    """Write the manifest of a verified snapshot."""
    paths = RepositoryPaths(cache, repo)
    files = []
    for link in sorted(paths.snapshot(commit).iterdir()):
        status, name = link.stat(), Path(os.readlink(link)).name
        hashes = {"sha256": name} if len(name) == 64 else {"git_sha1": name}
        files.append(ManifestFile(path=link.name, size=status.st_size, modified_ns=status.st_mtime_ns, **hashes))
    write_manifest(paths.manifest(commit), Manifest(repo=repo, commit=commit, files=tuple(files), proved_at=1.0))


def content(cache: Path) -> dict[str, bytes | str]:
    """Return the content of each file and the text of each link of the models in a cache."""
    found: dict[str, bytes | str] = {}
    for folder in sorted(cache.glob("models--*")):
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(cache))] = os.readlink(path)
            elif path.is_file():
                found[str(path.relative_to(cache))] = path.read_bytes()
    return found


def move(
    source: Path, target: Path, file: Path, *, delete: bool, hard_links: bool = False, held: Iterable[Path] = ()
) -> MoveProgress:
    """Run one half of a move as the daemon does, and return its progress."""
    ledger = read_ledger(file) or Ledger(file, MoveRecord(source=str(source), target=str(target), begun_at=0.0))
    progress = MoveProgress("deleting" if delete else "copying")
    holders = [LinkHolder(folder) for folder in held]
    MoveRun(ledger, progress, lambda: holders, delete=delete, hard_links=hard_links).run()
    return progress


def manifest_at(cache: Path) -> Manifest:
    """Return the manifest of the verified snapshot."""
    return msgspec.json.decode(RepositoryPaths(cache, "maker/one").manifest(TWO).read_bytes(), type=Manifest)
