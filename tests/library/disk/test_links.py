"""Pruning, updating and removing where links lead in and out of a repository: only its own unused files are deleted."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConflictError, DiskError
from lmx_daemon.contract.library import ImportRequest, PruneReport
from lmx_daemon.library.disk.links import MAX_ENTRIES, LinkHolder, reached
from lmx_daemon.library.library import Library
from tests.library.repositories import library_of, make_cached, make_folder

OLD, NEW, OTHER = "1" * 40, "2" * 40, "3" * 40


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return every file and link below a folder with its content or target."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def used(folder: Path) -> int:
    """Return the bytes of all regular files below a folder; hard links count once."""
    files = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({(status.st_dev, status.st_ino): status.st_size for status in files}.values())


def prune(library: Library, cache: Path) -> PruneReport:
    """Prune for real; the dry run's figures and rows must be what goes."""
    announced = library.space.prune(dry_run=True)
    before = used(cache)
    done = library.space.prune(dry_run=False)
    assert (done.rows, done.freed) == (announced.rows, announced.freed)
    assert before - used(cache) == announced.freed
    return done


def is_whole(snapshot: Path) -> bool:
    return all(path.exists() for path in snapshot.iterdir()) and (snapshot / "model.safetensors").stat().st_size > 0


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def linked(tmp_path: Path, cache: Path) -> Path:
    """A repository whose old snapshot links to the user's own files; returns the user's folder."""
    mine = make_folder(tmp_path / "originals", side=300)
    old = make_cached(cache, "maker/one", OLD, side=50)
    for file in old.iterdir():
        file.unlink()
    for file in mine.iterdir():
        (old / file.name).symlink_to(file)
    make_cached(cache, "maker/one", NEW, side=60)
    return mine


class TestPruning:
    def test_targets_outside_the_cache_are_left(self, tmp_path: Path, cache: Path, linked: Path) -> None:
        before = contents(linked)
        prune(library_of(tmp_path), cache)
        assert contents(linked) == before
        assert not (cache / "models--maker--one" / "snapshots" / OLD).exists()

    def test_a_blob_of_another_repository_is_left(self, tmp_path: Path, cache: Path) -> None:
        other = make_cached(cache, "maker/other", OTHER, side=90)
        blob = (other / "model.safetensors").resolve()
        old = make_cached(cache, "maker/one", OLD, side=50)
        (old / "model.safetensors").unlink()
        (old / "model.safetensors").symlink_to(os.path.relpath(blob, old))
        make_cached(cache, "maker/one", NEW, side=60)
        prune(library_of(tmp_path), cache)
        assert blob.exists() and is_whole(other)

    @pytest.mark.parametrize("relative", [True, False])
    def test_a_blob_that_another_repository_links_to_is_kept(self, tmp_path: Path, cache: Path, relative: bool) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        blob = (old / "model.safetensors").resolve()
        make_cached(cache, "maker/one", NEW, side=60)
        other = make_cached(cache, "maker/other", OTHER, side=90)
        (other / "model.safetensors").unlink()
        (other / "model.safetensors").symlink_to(os.path.relpath(blob, other) if relative else blob)
        prune(library_of(tmp_path), cache)
        assert blob.exists() and is_whole(other) and not old.exists()

    @pytest.mark.parametrize("folder", ["models--gpt2", "datasets--maker--set"])
    def test_a_blob_that_another_kind_of_repository_links_to_is_kept(
        self, tmp_path: Path, cache: Path, folder: str
    ) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        blob = (old / "model.safetensors").resolve()
        make_cached(cache, "maker/one", NEW, side=60)
        snapshot = cache / folder / "snapshots" / OTHER
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(blob)
        prune(library_of(tmp_path), cache)
        assert blob.exists()

    async def test_a_blob_that_an_imported_model_links_to_is_kept(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        library = library_of(tmp_path)
        async for told in library.import_model(ImportRequest(path=str(old), id="me/mine")):
            last = told
        assert last.state == "recorded"
        prune(library, cache)
        library.registry.catalog.refresh()
        assert library.registry.catalog.locate("me/mine").problem is None

    def test_a_link_through_another_blob_keeps_both(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        new = make_cached(cache, "maker/one", NEW, side=60)
        blob = (old / "model.safetensors").resolve()
        (blob.parent / ("a" * 64)).symlink_to(blob.name)
        (new / "model.safetensors").unlink()
        (new / "model.safetensors").symlink_to(f"../../blobs/{'a' * 64}")
        prune(library_of(tmp_path), cache)
        assert blob.exists() and is_whole(new)

    def test_a_link_to_a_folder_keeps_what_is_in_it(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        new = make_cached(cache, "maker/one", NEW, side=60)
        (new / "all").symlink_to("../../blobs")
        blobs = contents(new.parents[1] / "blobs")
        prune(library_of(tmp_path), cache)
        assert contents(new.parents[1] / "blobs") == blobs and not old.exists()

    def test_an_unused_link_among_the_blobs_is_removed_without_its_target(self, tmp_path: Path, cache: Path) -> None:
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

    def test_a_snapshot_that_is_a_link_goes_alone(self, tmp_path: Path, cache: Path) -> None:
        snapshot = make_cached(cache, "maker/one", NEW, side=60)
        mine = make_folder(tmp_path / "originals")
        before = contents(mine)
        (snapshot.parent / OLD).symlink_to(mine)
        prune(library_of(tmp_path), cache)
        assert contents(mine) == before and not os.path.lexists(snapshot.parent / OLD)

    def test_a_snapshot_to_which_another_links_is_kept(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        make_cached(cache, "maker/other", NEW, side=70)
        (cache / "models--maker--other" / "snapshots" / OTHER).symlink_to(old)
        (cache / "models--maker--other" / "refs" / "v1").write_text(OTHER)
        assert prune(library_of(tmp_path), cache).rows == ()
        assert is_whole(old)

    def test_real_files_in_a_snapshot_are_its_own(self, tmp_path: Path, cache: Path) -> None:
        """As on a disk without links. Another snapshot may still link to one of them."""
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

    def test_a_hard_link_is_freed_with_its_last_name(self, tmp_path: Path, cache: Path) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        blob = (old / "model.safetensors").resolve()
        os.link(blob, cache / "mine.safetensors")
        done = prune(library_of(tmp_path), cache)
        assert (cache / "mine.safetensors").exists() and not blob.exists()
        assert done.freed < 50 * 50 * 4

    def test_what_two_unnamed_revisions_share_is_counted_once(self, tmp_path: Path, cache: Path) -> None:
        old, older = (make_cached(cache, "maker/one", commit, side=50) for commit in (OLD, OTHER))
        make_cached(cache, "maker/one", NEW, side=60)
        done = prune(library_of(tmp_path), cache)
        assert len(done.rows) == 2 and done.freed > 50 * 50 * 4
        assert not old.exists() and not older.exists()

    def test_nothing_is_decided_on_what_cannot_be_read(self, tmp_path: Path) -> None:
        """A folder with very many files behind a link: what they lead to stays unknown."""
        for number in range(450):
            (tmp_path / "many" / str(number)).mkdir(parents=True)
        for number in range(449):
            for link in range(450):
                (tmp_path / "many" / str(number) / str(link)).symlink_to("x")
        assert MAX_ENTRIES < 450 * 449
        with pytest.raises(DiskError, match="more than"):
            reached(LinkHolder(tmp_path))


class TestUpdating:
    def act(self, tmp_path: Path, cache: Path) -> tuple[Library, Callable[[], bool]]:
        """Return a library that knows the old revision, and the second half of an update to the new one."""
        library = library_of(tmp_path)
        (cache / "models--maker--one" / "refs" / "main").write_text(OLD)
        library.registry.catalog.refresh()
        model = library.registry.catalog.locate("maker/one")
        assert model.revision == OLD
        (cache / "models--maker--one" / "refs" / "main").write_text(NEW)
        return library, lambda: library.space.retire(model)

    def test_targets_outside_are_left_and_undo_brings_the_links_back(
        self, tmp_path: Path, cache: Path, linked: Path
    ) -> None:
        before, links = contents(linked), contents(cache / "models--maker--one" / "snapshots" / OLD)
        library, retire = self.act(tmp_path, cache)
        assert retire() and contents(linked) == before
        library.undo("maker/one")
        assert contents(cache / "models--maker--one" / "snapshots" / OLD) == links

    def test_only_the_replaced_revision_goes_and_undo_makes_it_current_again(self, tmp_path: Path, cache: Path) -> None:
        pinned = make_cached(cache, "maker/one", OTHER, side=40)
        old = make_cached(cache, "maker/one", OLD, side=50)
        new = make_cached(cache, "maker/one", NEW, side=60)
        before = contents(cache / "models--maker--one")
        library, retire = self.act(tmp_path, cache)
        assert retire() and not old.exists()
        assert is_whole(pinned) and is_whole(new)
        (row,) = library.trash.rows()
        assert (row.id, row.revision) == ("maker/one", OLD) and row.size > 50 * 50 * 4
        assert library.undo("maker/one").revision == OLD
        assert library.registry.catalog.locate("maker/one").revision == OLD and library.trash.rows() == []
        assert contents(cache / "models--maker--one") == before | {"refs/main": OLD.encode()}

    def test_a_second_update_keeps_what_the_first_one_needs_to_come_back(self, tmp_path: Path, cache: Path) -> None:
        first = make_cached(cache, "maker/one", OTHER, side=50)
        make_cached(cache, "maker/one", OLD, side=50)  # the same bytes
        make_cached(cache, "maker/one", NEW, side=60, model_type="qwen3")
        main = cache / "models--maker--one" / "refs" / "main"
        library = library_of(tmp_path)
        for before, after in ((OTHER, OLD), (OLD, NEW)):
            main.write_text(before)
            library.registry.catalog.refresh()
            model = library.registry.catalog.locate("maker/one")
            main.write_text(after)
            assert library.space.retire(model)
        assert library.space.prune(dry_run=True).rows == ()
        first_key = next(row.key for row in library.trash.rows() if row.revision == OTHER)
        library.undo(first_key)
        assert is_whole(first)
        assert main.read_text() == NEW  # another update came between, so `main` stays

    @pytest.mark.parametrize("what", ["named", "in use", "a link"])
    def test_it_stays(self, tmp_path: Path, cache: Path, what: str) -> None:
        old = make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        match what:
            case "named":
                (cache / "models--maker--one" / "refs" / "v1").write_text(OLD)
            case "a link":
                shutil.move(old, tmp_path / "elsewhere")
                old.symlink_to(tmp_path / "elsewhere")
        in_use = [str(old)] if what == "in use" else []
        library = library_of(tmp_path, in_use=in_use)
        (cache / "models--maker--one" / "refs" / "main").write_text(OLD)
        library.registry.catalog.refresh()
        model = library.registry.catalog.locate("maker/one")
        (cache / "models--maker--one" / "refs" / "main").write_text(NEW)
        assert not library.space.retire(model)
        assert old.exists() and library.trash.rows() == []

    def test_undo_waits_for_the_model_itself(self, tmp_path: Path, cache: Path) -> None:
        make_cached(cache, "maker/one", OLD, side=50)
        make_cached(cache, "maker/one", NEW, side=60)
        library, retire = self.act(tmp_path, cache)
        assert retire()
        revision = library.trash.rows()[0].key
        library.remove("maker/one")
        with pytest.raises(ConflictError, match="is not here"):
            library.undo(revision)
        library.undo("maker/one")
        library.undo(revision)
        assert is_whole(cache / "models--maker--one" / "snapshots" / OLD)


class TestRemoving:
    def test_a_model_to_which_another_links_is_not_removed(self, tmp_path: Path, cache: Path) -> None:
        snapshot = make_cached(cache, "maker/one", OLD, side=50)
        other = make_cached(cache, "maker/other", OTHER, side=90)
        (other / "model.safetensors").unlink()
        (other / "model.safetensors").symlink_to((snapshot / "model.safetensors").resolve())
        library = library_of(tmp_path)
        with pytest.raises(ConflictError, match="maker/other links to its files"):
            library.check_unlinked("maker/one")
        library.check_unlinked("maker/other")

    def test_a_model_that_is_a_link_comes_back_as_one(self, tmp_path: Path, cache: Path) -> None:
        make_cached(cache, "maker/one", OLD, side=50)
        folder = cache / "models--maker--one"
        shutil.move(folder, tmp_path / "elsewhere")
        folder.symlink_to("../elsewhere")
        before = contents(tmp_path / "elsewhere")
        library = library_of(tmp_path)
        library.remove("maker/one")
        library.tidy()
        assert contents(tmp_path / "elsewhere") == before and len(library.trash.rows()) == 1
        library.undo(None)
        assert folder.is_symlink() and library.registry.catalog.locate("maker/one").problem is None


def test_the_time_of_a_look_at_many_models_is_bounded(tmp_path: Path) -> None:
    for number in range(60):
        make_cached(tmp_path / "cache", f"maker/m{number}", OLD, side=4)
    begun = time.monotonic()
    library_of(tmp_path).space.use()
    assert time.monotonic() - begun < 5.0
