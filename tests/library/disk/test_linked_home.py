"""Links in lmx's home and in the cache: nothing behind them is written or deleted, also not by imports and locks."""

import shutil
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.files import ImportRequest
from lmx_daemon.contract.errors import DiskError, RequestError
from lmx_daemon.library.disk.imports import sweep
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.library import Library
from tests.library.disk.test_links import contents
from tests.library.repositories import library_of, make_cached, make_folder


async def bring(library: Library, path: Path) -> None:
    async for _ in library.imports.add(ImportRequest(path=str(path), id="maker/one")):
        pass


def replace_by_link(folder: Path, elsewhere: Path) -> None:
    """Move a folder away, and put a link to its new place."""
    shutil.move(folder, elsewhere)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("part", ["models", "models/maker"])
class TestImportedModels:
    async def test_import_through_a_link_is_refused(self, tmp_path: Path, part: str) -> None:
        folder, library, link = make_folder(tmp_path / "else" / "where"), library_of(tmp_path), tmp_path / "home" / part
        (tmp_path / "behind").mkdir()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "behind")
        with pytest.raises(DiskError, match=f"{link} is a link"):
            await bring(library, folder)
        assert list((tmp_path / "behind").iterdir()) == []

    async def test_model_behind_a_link_is_listed_and_not_removed(self, tmp_path: Path, part: str) -> None:
        library = library_of(tmp_path)
        await bring(library, make_folder(tmp_path / "else" / "where"))
        replace_by_link(tmp_path / "home" / part, tmp_path / "behind")
        before = contents(tmp_path / "behind")
        assert "maker/one" in [model.id for model in library.registry.catalog.refresh()]
        with pytest.raises(RequestError, match="behind the link"):
            library.remove("maker/one")
        assert contents(tmp_path / "behind") == before and library.trash.rows() == []

    async def test_model_is_not_restored_through_a_link(self, tmp_path: Path, part: str) -> None:
        library = library_of(tmp_path)
        await bring(library, make_folder(tmp_path / "else" / "where"))
        library.remove("maker/one")
        (tmp_path / "home" / "models" / "maker").mkdir(parents=True, exist_ok=True)
        replace_by_link(tmp_path / "home" / part, tmp_path / "behind")
        before = contents(tmp_path / "behind")
        with pytest.raises(DiskError, match="is a link"):
            library.undo("maker/one")
        assert contents(tmp_path / "behind") == before and len(library.trash.rows()) == 1

    def test_unfinished_import_behind_a_link_is_kept(self, tmp_path: Path, part: str) -> None:
        unfinished = tmp_path / "home" / "models" / "maker" / ".half.lmx"
        unfinished.mkdir(parents=True)
        replace_by_link(tmp_path / "home" / part, tmp_path / "behind")
        sweep(tmp_path / "home" / "models")
        assert unfinished.is_dir()


@pytest.mark.parametrize("part", [".locks", ".locks/models--maker--one.lmx.lock"])
def test_lock_is_not_taken_through_a_link(tmp_path: Path, part: str) -> None:
    cache, behind = tmp_path / "cache", tmp_path / "behind"
    make_cached(cache, "maker/one")
    (cache / part).parent.mkdir(exist_ok=True)
    (cache / part).symlink_to(behind)
    with pytest.raises(DiskError, match="is a link"), locked_now(RepositoryPaths(cache, "maker/one")):
        pytest.fail("the lock was taken")
    assert not behind.exists()


def test_pull_beside_linked_locks_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "behind").mkdir()
    (tmp_path / "cache" / "models--maker--one").mkdir(parents=True)
    (tmp_path / "cache" / ".locks").symlink_to(tmp_path / "behind")
    paths = RepositoryPaths(tmp_path / "cache", "maker/one")
    with pytest.raises(DiskError, match="is a link"), locked_now(paths):
        pytest.fail("the lock was taken")
    assert not paths.blobs.exists() and list((tmp_path / "behind").iterdir()) == []
