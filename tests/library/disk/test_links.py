"""Pruning where links lead in and out of a repository: only its own unused files are deleted."""

import os
import shutil
import time
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.disk import PruneReport
from lmx_daemon.contract.admin.library.files import ImportRequest
from lmx_daemon.contract.errors import DiskError
from lmx_daemon.library.disk.links import MAX_ENTRIES, LinkHolder, reached
from lmx_daemon.library.library import Library
from tests.library.disk.conftest import NEW, OLD, OTHER, contents, is_whole
from tests.library.repositories import library_of, make_cached, make_folder


def used(folder: Path) -> int:
    """Return the bytes of all regular files below a folder; hard links count once."""
    files = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({(status.st_dev, status.st_ino): status.st_size for status in files}.values())


def prune(library: Library, cache: Path) -> PruneReport:
    """Prune, and check that the dry run announced the same rows and bytes."""
    announced = library.space.prune(dry_run=True)
    before = used(cache)
    done = library.space.prune(dry_run=False)
    assert (done.rows, done.freed) == (announced.rows, announced.freed)
    assert before - used(cache) == announced.freed
    return done


class TestPruning:
    def test_link_targets_outside_the_cache_are_kept(self, tmp_path: Path, cache: Path, linked: Path) -> None:
        before = contents(linked)
        prune(library_of(tmp_path), cache)
        assert contents(linked) == before
        assert not (cache / "models--maker--one" / "snapshots" / OLD).exists()

    def test_blob_of_another_repository_is_kept(self, tmp_path: Path, cache: Path) -> None:
        other = make_cached(cache, "maker/other", OTHER, side=90)
        blob = (other / "model.safetensors").resolve()
        old = make_cached(cache, "maker/one", OLD, side=50)
        (old / "model.safetensors").unlink()
        (old / "model.safetensors").symlink_to(os.path.relpath(blob, old))
        make_cached(cache, "maker/one", NEW, side=60)
        prune(library_of(tmp_path), cache)
        assert blob.exists() and is_whole(other)

    @pytest.mark.parametrize("relative", [True, False])
    def test_blob_that_another_repository_links_to_is_kept(self, tmp_path: Path, cache: Path, relative: bool) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        blob = (old / "model.safetensors").resolve()
        make_cached(cache, "maker/one", NEW, side=60)
        other = make_cached(cache, "maker/other", OTHER, side=90)
        (other / "model.safetensors").unlink()
        (other / "model.safetensors").symlink_to(os.path.relpath(blob, other) if relative else blob)
        prune(library_of(tmp_path), cache)
        assert blob.exists() and is_whole(other) and not old.exists()

    @pytest.mark.parametrize("folder", ["models--gpt2", "datasets--maker--set"])
    def test_blob_that_a_data_set_links_to_is_kept(self, tmp_path: Path, cache: Path, folder: str) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        blob = (old / "model.safetensors").resolve()
        make_cached(cache, "maker/one", NEW, side=60)
        snapshot = cache / folder / "snapshots" / OTHER
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(blob)
        prune(library_of(tmp_path), cache)
        assert blob.exists()

    async def test_blob_that_an_imported_model_links_to_is_kept(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        library = library_of(tmp_path)
        async for update in library.imports.add(ImportRequest(path=str(old), id="me/mine")):
            last = update
        assert last.state == "recorded"
        prune(library, cache)
        library.registry.catalog.refresh()
        assert library.registry.catalog.locate("me/mine").problem is None

    def test_chain_of_links_keeps_every_blob_in_it(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        new = make_cached(cache, "maker/one", NEW, side=60)
        blob = (old / "model.safetensors").resolve()
        (blob.parent / ("a" * 64)).symlink_to(blob.name)
        (new / "model.safetensors").unlink()
        (new / "model.safetensors").symlink_to(f"../../blobs/{'a' * 64}")
        prune(library_of(tmp_path), cache)
        assert blob.exists() and is_whole(new)

    def test_link_to_a_folder_keeps_the_files_in_it(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        new = make_cached(cache, "maker/one", NEW, side=60)
        (new / "all").symlink_to("../../blobs")
        blobs = contents(new.parents[1] / "blobs")
        prune(library_of(tmp_path), cache)
        assert contents(new.parents[1] / "blobs") == blobs and not old.exists()

    def test_unused_link_among_the_blobs_is_removed_without_its_target(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        blob = (old / "model.safetensors").resolve()
        mine = tmp_path / "mine.safetensors"
        os.replace(blob, mine)
        blob.symlink_to(mine)
        make_cached(cache, "maker/one", NEW, side=60)
        prune(library_of(tmp_path), cache)
        assert mine.exists() and not os.path.lexists(blob)

    @pytest.mark.parametrize("part", ["", "blobs", "snapshots"])
    def test_nothing_behind_a_linked_folder_is_deleted(self, tmp_path: Path, cache: Path, part: str) -> None:
        make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        folder = cache / "models--maker--one" / part if part else cache / "models--maker--one"
        elsewhere = tmp_path / "disk" / "elsewhere" / "x"
        elsewhere.parent.mkdir(parents=True)
        shutil.move(folder, elsewhere)
        if part == "snapshots":  # its relative links count from where it really is
            (elsewhere.parent / "blobs").symlink_to(cache / "models--maker--one" / "blobs")
        folder.symlink_to(elsewhere)
        blobs = cache / "models--maker--one" / "blobs"
        (blobs / ("f" * 64)).write_bytes(b"orphan")
        os.utime(blobs / ("f" * 64), (0, 0))
        before = contents(elsewhere)
        assert prune(library_of(tmp_path), cache).rows == ()
        assert contents(elsewhere) == before

    def test_snapshot_that_is_a_link_is_removed_without_its_target(self, tmp_path: Path, cache: Path) -> None:
        snapshot = make_cached(cache, "maker/one", NEW, side=60)
        mine = make_folder(tmp_path / "originals")
        before = contents(mine)
        (snapshot.parent / OLD).symlink_to(mine)
        prune(library_of(tmp_path), cache)
        assert contents(mine) == before and not os.path.lexists(snapshot.parent / OLD)

    def test_snapshot_that_another_snapshot_links_to_is_kept(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        make_cached(cache, "maker/other", NEW, side=70)
        (cache / "models--maker--other" / "snapshots" / OTHER).symlink_to(old)
        (cache / "models--maker--other" / "refs" / "v1").write_text(OTHER)
        assert prune(library_of(tmp_path), cache).rows == ()
        assert is_whole(old)

    def test_real_files_of_a_snapshot_are_removed_with_it(self, tmp_path: Path, cache: Path) -> None:
        """A snapshot on a disk without links has real files. Another snapshot may link to one of them."""
        old, new = (make_cached(cache, "maker/one", commit, side=side) for commit, side in ((OLD, 50), (NEW, 60)))
        for snapshot in (old, new):
            for link in list(snapshot.iterdir()):
                content = link.read_bytes()
                link.unlink()
                link.write_bytes(content)
        for blob in (old.parents[1] / "blobs").iterdir():
            blob.unlink()
        (new / "extra.txt").symlink_to(f"../{OLD}/README.md")
        library = library_of(tmp_path)
        assert prune(library, cache).rows == () and is_whole(old)
        (new / "extra.txt").unlink()
        done = prune(library, cache)
        assert [row.what for row in done.rows] == ["unnamed revision"] and done.freed > 50 * 50 * 4
        assert is_whole(new) and not old.exists()

    def test_hard_link_counts_as_freed_with_its_last_name(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        blob = (old / "model.safetensors").resolve()
        os.link(blob, cache / "mine.safetensors")
        done = prune(library_of(tmp_path), cache)
        assert (cache / "mine.safetensors").exists() and not blob.exists()
        assert done.freed < 50 * 50 * 4

    def test_blobs_shared_by_two_unnamed_revisions_count_once(self, tmp_path: Path, cache: Path) -> None:
        old, older = (make_cached(cache, "maker/one", commit, side=50) for commit in (OLD, OTHER))
        make_cached(cache, "maker/one", NEW, side=60)
        done = prune(library_of(tmp_path), cache)
        assert len(done.rows) == 2 and done.freed > 50 * 50 * 4
        assert not old.exists() and not older.exists()

    def test_prune_is_refused_when_a_linked_folder_is_too_large_to_read(self, tmp_path: Path) -> None:
        """A link leads to a folder with very many files, so their links are unknown."""
        for number in range(450):
            (tmp_path / "many" / str(number)).mkdir(parents=True)
        for number in range(449):
            for link in range(450):
                (tmp_path / "many" / str(number) / str(link)).symlink_to("x")
        assert MAX_ENTRIES < 450 * 449
        with pytest.raises(DiskError, match="more than"):
            reached(LinkHolder(tmp_path))


def test_prune_of_many_models_is_fast(tmp_path: Path) -> None:
    for number in range(60):
        make_cached(tmp_path / "cache", f"maker/m{number}", OLD, side=4)
    begun = time.monotonic()
    library_of(tmp_path).space.use()
    assert time.monotonic() - begun < 5.0
