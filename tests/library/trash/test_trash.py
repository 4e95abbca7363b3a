"""The trash: removal, restoration, expiry."""

import json
import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import scan_cache_dir

from lmx_daemon.contract.admin.library.files import ImportRequest
from lmx_daemon.contract.errors import ConflictError, DiskError, NewerStateError, NotFoundError, RequestError
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.library import Library
from lmx_daemon.library.trash import trash as trash_module
from lmx_daemon.library.trash import trash_deletion
from lmx_daemon.library.trash.trash_model import restore_model
from tests.library.repositories import library_of, make_cached, make_folder

OLD, NEW = "1" * 40, "2" * 40
DAY = 86_400.0


def ids(library: Library) -> list[str]:
    return [model.id for model in library.registry.catalog.refresh()]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def backdate(note: Path, seconds: float) -> None:
    """Make an entry of the trash older by both of its clocks."""
    kept = json.loads(note.read_text())
    note.write_text(json.dumps(kept | {key: kept.get(key, 0.0) - seconds for key in ("removed_at", "seen_at")}))


class TestRemoving:
    def test_removed_model_is_restored_byte_for_byte(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")
        before = (snapshot / "model.safetensors").read_bytes()
        library = library_of(tmp_path)
        row = library.remove("maker/one")
        assert row.size > len(before) and ids(library) == ["lmx/guide"]
        assert library_of(tmp_path).undo(None).id == "maker/one"  # also after a restart
        assert ids(library) == ["lmx/guide", "maker/one"]
        assert (snapshot / "model.safetensors").read_bytes() == before
        assert library.trash.rows() == []

    def test_model_that_is_being_deleted_is_not_restored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        row = library.remove("maker/one")
        whole, restored = shutil.rmtree, []

        def interrupted(folder: Path, **options: Any) -> None:
            next(Path(folder).glob("**/blobs/*")).unlink()
            monkeypatch.setattr(trash_deletion.shutil, "rmtree", whole)
            for name in ("maker/one", row.key, None):
                with pytest.raises(NotFoundError):
                    restored.append(library.undo(name))
            whole(folder, **options)

        monkeypatch.setattr(trash_deletion.shutil, "rmtree", interrupted)
        assert [gone.key for gone in library.trash.purge(identity="maker/one")] == [row.key]
        assert not restored and ids(library) == ["lmx/guide"]

    def test_model_that_is_deleted_during_its_restoration_is_not_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")

        def late(*arguments: object) -> None:
            library.trash.purge()
            restore_model(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(trash_module, "restore_model", late)
        with pytest.raises(NotFoundError, match="deleted from the trash meanwhile"):
            library.undo("maker/one")

    @pytest.mark.parametrize("finish", ["expire", "purge"])
    def test_deletion_that_a_kill_interrupted_is_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finish: str
    ) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        with monkeypatch.context() as killed:
            killed.setattr(trash_deletion.shutil, "rmtree", lambda folder, **options: None)
            library.trash.purge()
        place = tmp_path / "cache" / ".locks" / "lmx-trash"
        assert any(place.glob("*/content")) and library_of(tmp_path).trash.rows() == []
        getattr(library_of(tmp_path).trash, finish)()
        assert not any(place.glob("*/content"))

    def test_tools_of_the_hub_ignore_the_trash(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        make_cached(tmp_path / "cache", "maker/two")
        library_of(tmp_path).remove("maker/one")
        found = scan_cache_dir(tmp_path / "cache")
        assert [repo.repo_id for repo in found.repos] == ["maker/two"] and not found.warnings

    def test_loaded_model_is_not_removed(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")
        with pytest.raises(ConflictError) as refused:
            library_of(tmp_path, in_use=[str(snapshot)]).remove("maker/one")
        assert refused.value.hint is not None and "lmx unload maker/one" in refused.value.hint

    def test_model_whose_load_begins_during_the_removal_is_restored(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")

        class LoadedLater(list[str]):
            def __contains__(self, path: object) -> bool:
                self.append(str(path))
                return len(self) > 1

        with pytest.raises(ConflictError, match="is loaded"):
            library_of(tmp_path, in_use=LoadedLater()).remove("maker/one")
        assert (snapshot / "config.json").exists()

    def test_model_being_pulled_is_not_removed(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        with locked_now(RepositoryPaths(tmp_path / "cache", "maker/one")), pytest.raises(ConflictError):
            library.remove("maker/one")

    def test_models_of_other_owners_are_not_removed(self, tmp_path: Path) -> None:
        make_folder(tmp_path / "mine" / "one")
        library = library_of(tmp_path)
        for identity in ("local/one", "lmx/guide"):
            with pytest.raises(RequestError, match="lmx does not remove"):
                library.remove(identity)
        assert (tmp_path / "mine" / "one" / "config.json").exists()

    def test_loaded_model_of_another_owner_gets_the_error_of_its_owner(self, tmp_path: Path) -> None:
        path = library_of(tmp_path).registry.catalog.locate("lmx/guide").path
        with pytest.raises(RequestError, match="a part of lmx"):
            library_of(tmp_path, in_use=[path]).remove("lmx/guide")

    def test_undo_does_not_overwrite_a_new_model(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        make_cached(tmp_path / "cache", "maker/one", NEW)
        with pytest.raises(ConflictError):
            library.undo("maker/one")
        with pytest.raises(NotFoundError):
            library.undo("maker/two")

    async def test_undo_of_a_model_whose_place_is_taken_names_two_ways_that_work(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")
        removed = (snapshot / "model.safetensors").read_bytes()
        library = library_of(tmp_path)
        key = library.remove("maker/one").key
        newer = make_cached(tmp_path / "cache", "maker/one", NEW, side=80)
        with pytest.raises(ConflictError, match="is taken") as refused:
            library.undo("maker/one")
        library.tidy()
        assert [row.key for row in library.trash.rows()] == [key]
        first, second = (refused.value.hint or "").splitlines()

        words = shlex.split(second.partition("lmx import ")[2])
        request = ImportRequest(path=words[0], copy=words[1] == "--copy", id=words[3])
        assert [update async for update in library.imports.add(request)][-1].state == "recorded"
        copied = Path(library.registry.catalog.locate("maker/one-restored").path)
        assert (copied / "model.safetensors").read_bytes() == removed and newer.exists()

        assert first.endswith(f"(lmx rm maker/one), then: lmx rm --undo {key}")
        library.remove("maker/one")
        library.undo(key)
        assert (snapshot / "model.safetensors").read_bytes() == removed and not newer.exists()

    async def test_undo_of_an_imported_model_whose_place_is_taken_is_explained(self, tmp_path: Path) -> None:
        library, request = library_of(tmp_path), ImportRequest(path=str(make_folder(tmp_path / "else" / "where")))
        for _ in range(2):
            library.registry.catalog.refresh()
            assert [update async for update in library.imports.add(request)][-1].state == "recorded"
            key = library.remove("else/where").key
        (other,) = [row.key for row in library.trash.rows() if row.key != key]
        library.undo(key)
        with pytest.raises(ConflictError, match="else/where cannot return") as refused:
            library.undo(other)
        assert refused.value.hint and f"--undo {other}" in refused.value.hint and "--copy" in refused.value.hint

    def test_revision_that_is_installed_again_has_nothing_to_restore(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one", OLD)
        library = library_of(tmp_path)
        model = library.registry.catalog.locate("maker/one")
        make_cached(tmp_path / "cache", "maker/one", NEW, side=80)
        assert library.space.retire(model)
        make_cached(tmp_path / "cache", "maker/one", OLD, main=False)
        with pytest.raises(ConflictError, match="nothing has to be restored"):
            library.undo("maker/one")

    def test_deletion_of_an_entry_is_logged(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "lmx.trash")
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        make_cached(tmp_path / "cache", "maker/one", NEW)
        backdate(next((tmp_path / "cache" / ".locks" / "lmx-trash").glob("*/note.json")), 1.01 * DAY)
        library.tidy()
        assert "maker/one was deleted from the trash" in caplog.text and "its time is over" in caplog.text

    def test_note_has_a_version_and_one_without_it_is_of_the_first(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        (note,) = (tmp_path / "cache").rglob("note.json")
        kept = json.loads(note.read_text())
        assert kept.pop("version") == 1
        note.write_text(json.dumps(kept))
        assert library.undo(None).id == "maker/one"

    def test_entry_of_a_newer_version_is_neither_restored_nor_deleted(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        (note,) = (tmp_path / "cache").rglob("note.json")
        backdate(note, 30 * DAY)
        note.write_text(json.dumps(json.loads(note.read_text()) | {"version": 2}))
        content = note.read_bytes()
        assert library.trash.rows() == [] and library.trash.expire() == []
        for identity in (None, "maker/one"):
            with pytest.raises(NewerStateError, match="version 2") as refused:
                library.undo(identity)
            assert refused.value.hint is not None and "upgrade lmx" in refused.value.hint
        with pytest.raises(NewerStateError):  # its links are unknown, so that no file may count as unused
            library.trash.holders()
        assert note.read_bytes() == content and (note.parent / "content").is_dir()

    def test_entry_expires_after_its_time(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        library.tidy()
        assert len(library.trash.rows()) == 1
        note = next((tmp_path / "cache" / ".locks" / "lmx-trash").glob("*/note.json"))
        backdate(note, 1.01 * DAY)
        library.tidy()
        assert library.trash.rows() == []
        assert not list((tmp_path / "cache" / ".locks" / "lmx-trash").iterdir())

    def test_trash_expires_on_a_disk_that_accepts_no_file(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.registry.find("maker/one")
        library.remove("maker/one")
        (tmp_path / "home" / "library" / "used.json").mkdir(parents=True)  # uses cannot be saved
        note = next((tmp_path / "cache" / ".locks" / "lmx-trash").glob("*/note.json"))
        backdate(note, 1.01 * DAY)
        library.tidy()
        assert library.trash.rows() == []

    def test_pull_empties_the_trash_before_the_disk_counts_as_full(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            make_cached(tmp_path / "cache", f"maker/{name}")
        library = library_of(tmp_path)
        for name in ("one", "two"):
            library.remove(f"maker/{name}")
        library.trash.make_room(1, tmp_path)
        assert len(library.trash.rows()) == 2
        library.trash.make_room(2**62, tmp_path)
        assert library.trash.rows() == []


class TestLinkedTrash:
    @pytest.mark.parametrize("link", ["cache/.locks/lmx-trash", "cache/.locks", "home/trash"])
    def test_folders_behind_a_linked_trash_are_kept(self, tmp_path: Path, link: str) -> None:
        elsewhere = tmp_path / "elsewhere"
        inner = elsewhere / "lmx-trash" if link.endswith(".locks") else elsewhere
        for name in ("photos", "a" * 12, "b" * 12):
            (inner / name).mkdir(parents=True)
        (inner / "photos" / "one.jpg").write_text("photo")
        (inner / ("b" * 12) / "content").mkdir()
        (inner / "clock.json").write_text("{}")
        for folder in inner.iterdir():
            age(folder, 3 * DAY)
        library = library_of(tmp_path)
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to(elsewhere)
        before = sorted(inner.rglob("*"))
        library.tidy()
        assert library.trash.purge() == [] and library.trash.rows() == []
        library.trash.make_room(2**62, tmp_path)
        assert sorted(inner.rglob("*")) == before

    def test_model_is_not_moved_into_a_linked_trash(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "cache" / ".locks").mkdir()
        (tmp_path / "cache" / ".locks" / "lmx-trash").symlink_to(tmp_path / "elsewhere")
        library = library_of(tmp_path)
        with pytest.raises(DiskError, match=r"lmx-trash is a link") as refused:
            library.remove("maker/one")
        assert refused.value.hint and (snapshot / "config.json").exists()
        assert not list((tmp_path / "elsewhere").iterdir())

    def test_only_folders_with_the_names_and_files_of_entries_are_deleted(self, tmp_path: Path) -> None:
        place, elsewhere = tmp_path / "cache" / ".locks" / "lmx-trash", tmp_path / "elsewhere"
        for folder in (place / "photos", place / ("a" * 12), place / ("b" * 12), place / ("c" * 12), elsewhere):
            folder.mkdir(parents=True)
        (place / ("b" * 12) / "one.jpg").write_text("photo")
        (place / ("c" * 12) / "note.json").write_text("damaged")
        (place / ("d" * 12)).symlink_to(elsewhere)
        for folder in place.iterdir():
            age(folder, 3 * DAY)
        library = library_of(tmp_path)
        library.tidy()
        library.trash.purge()
        assert sorted(left.name for left in place.iterdir()) == ["b" * 12, "d" * 12, "photos"]
        assert elsewhere.is_dir()

    def test_damaged_note_with_content_is_deleted_only_on_request(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        entry = tmp_path / "cache" / ".locks" / "lmx-trash" / library.remove("maker/one").key
        (entry / "note.json").write_text("damaged")
        age(entry, 3 * DAY)
        library.tidy()
        assert (entry / "content").is_dir()
        library.trash.purge()
        assert not entry.exists()


class TestPlaceThatIsTaken:
    @pytest.fixture
    def library(self, tmp_path: Path) -> Library:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        return library

    def test_model_is_restored_over_the_folder_of_a_failed_pull(self, tmp_path: Path, library: Library) -> None:
        folder = tmp_path / "cache" / "models--maker--one"
        (folder / "blobs").mkdir(parents=True)
        (folder / "snapshots").mkdir()
        (folder / "blobs" / "abc.lmx.incomplete").write_text("fetched")
        assert library.undo("maker/one").id == "maker/one"
        assert library.registry.catalog.locate("maker/one").problem is None and library.trash.rows() == []
        assert (folder / "blobs" / "abc.lmx.incomplete").read_text() == "fetched"
        assert not [left for left in folder.parent.glob(".locks/lmx-trash/*") if left.is_dir()]

    def test_running_pull_is_named_and_nothing_is_lost(self, tmp_path: Path, library: Library) -> None:
        paths = RepositoryPaths(tmp_path / "cache", "maker/one")
        paths.blobs.mkdir(parents=True)
        with locked_now(paths), pytest.raises(ConflictError, match="is being pulled") as refused:
            library.undo("maker/one")
        assert refused.value.hint and "lmx downloads" in refused.value.hint
        assert len(library.trash.rows()) == 1
        library.undo("maker/one")
        assert ids(library) == ["lmx/guide", "maker/one"]

    def test_failed_restoration_leaves_both_folders_in_place(
        self, tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths, rename = RepositoryPaths(tmp_path / "cache", "maker/one"), os.rename
        paths.blobs.mkdir(parents=True)

        def failing(source: Path, target: Path) -> None:
            if source.name == "content":
                raise PermissionError(13, "Permission denied")
            rename(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", failing)
            with pytest.raises(DiskError):
                library.undo("maker/one")
        assert paths.blobs.is_dir() and len(library.trash.rows()) == 1
        library.undo("maker/one")
        assert ids(library) == ["lmx/guide", "maker/one"]
