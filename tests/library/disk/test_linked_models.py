"""Updates and removals of models whose links lead in or out of their repository."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConflictError
from lmx_daemon.library.library import Library
from tests.library.disk.conftest import NEW, OLD, OTHER, contents, is_whole
from tests.library.repositories import library_of, make_cached


class TestUpdating:
    def act(self, tmp_path: Path, cache: Path) -> tuple[Library, Callable[[], bool]]:
        """Return a library with the old revision, and the second half of an update to the new one."""
        library = library_of(tmp_path)
        (cache / "models--maker--one" / "refs" / "main").write_text(OLD)
        library.registry.catalog.refresh()
        model = library.registry.catalog.locate("maker/one")
        assert model.revision == OLD
        (cache / "models--maker--one" / "refs" / "main").write_text(NEW)
        return library, lambda: library.space.retire(model)

    def test_retired_links_keep_their_targets_and_are_restored(self, tmp_path: Path, cache: Path, linked: Path) -> None:
        before, links = contents(linked), contents(cache / "models--maker--one" / "snapshots" / OLD)
        library, retire = self.act(tmp_path, cache)
        assert retire() and contents(linked) == before
        library.undo("maker/one")
        assert contents(cache / "models--maker--one" / "snapshots" / OLD) == links

    def test_replaced_revision_is_retired_and_undo_makes_it_current(self, tmp_path: Path, cache: Path) -> None:
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

    def test_second_update_keeps_the_blobs_of_the_first_retired_revision(self, tmp_path: Path, cache: Path) -> None:
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
    def test_revision_in_use_is_not_retired(self, tmp_path: Path, cache: Path, what: str) -> None:
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

    def test_undo_of_a_revision_needs_the_rest_of_the_model(self, tmp_path: Path, cache: Path) -> None:
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
    def test_model_that_another_model_links_to_is_not_removed(self, tmp_path: Path, cache: Path) -> None:
        snapshot = make_cached(cache, "maker/one", OLD, side=50)
        other = make_cached(cache, "maker/other", OTHER, side=90)
        (other / "model.safetensors").unlink()
        (other / "model.safetensors").symlink_to((snapshot / "model.safetensors").resolve())
        library = library_of(tmp_path)
        with pytest.raises(ConflictError, match="maker/other links to its files"):
            library.check_removal("maker/one")
        library.check_removal("maker/other")

    def test_model_that_is_a_link_is_restored_as_a_link(self, tmp_path: Path, cache: Path) -> None:
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
