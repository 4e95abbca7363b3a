"""Refs of a repository that are not what a ref is: large files, FIFOs, other bytes."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.library.disk.cached_repository import read_repository
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from tests.library.repositories import library_of, make_cached

COMMIT = "1" * 40


def large(ref: Path) -> None:
    ref.touch()
    os.truncate(ref, 4 * 1024 * 1024)


def other_bytes(ref: Path) -> None:
    ref.write_bytes(b"\xff\xfe")


HOSTILE = pytest.mark.parametrize("make", [large, os.mkfifo, other_bytes])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = make_cached(tmp_path / "cache", "maker/one", COMMIT).parents[1]
    (repository / "refs" / "main").unlink()
    return repository


@HOSTILE
def test_a_hostile_ref_names_nothing(tmp_path: Path, repository: Path, make: Callable[[Path], None]) -> None:
    make(repository / "refs" / "main")
    found = read_repository(repository, "maker/one")
    assert found.refs == {} and found.current == COMMIT
    library = library_of(tmp_path)
    assert library.space.use().total > 0 and library.details("maker/one").revisions[0].refs == ()
    assert library.space.prune(dry_run=False).rows == ()


@HOSTILE
def test_a_pull_replaces_a_hostile_ref(tmp_path: Path, repository: Path, make: Callable[[Path], None]) -> None:
    make(repository / "refs" / "main")
    writer = RepositoryWriter(RepositoryPaths(tmp_path / "cache", "maker/one"))
    writer.paths.own.mkdir()
    thread = threading.Thread(target=writer._write_ref, args=("main", COMMIT), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive() and (repository / "refs" / "main").read_text() == COMMIT
