"""Caches with links in and out of a repository, and comparisons of folders."""

import os
from pathlib import Path

import pytest

from tests.library.repositories import make_cached, make_folder

OLD, NEW, OTHER = "1" * 40, "2" * 40, "3" * 40


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def linked(tmp_path: Path, cache: Path) -> Path:
    """Make a repository whose old snapshot links to the user's own files, and return the user's folder."""
    mine = make_folder(tmp_path / "originals", side=300)
    old = make_cached(cache, "maker/one", OLD, side=50)
    for file in old.iterdir():
        file.unlink()
    for file in mine.iterdir():
        (old / file.name).symlink_to(file)
    make_cached(cache, "maker/one", NEW, side=60)
    return mine


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return every file and link below a folder with its content or target."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def is_whole(snapshot: Path) -> bool:
    return all(path.exists() for path in snapshot.iterdir()) and (snapshot / "model.safetensors").stat().st_size > 0
