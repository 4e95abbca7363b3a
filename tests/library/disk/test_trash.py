"""Removing, bringing back, purging; disk use and pruning; importing."""

import asyncio
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from lmx_daemon.contract.errors import ConflictError, LmxError, NotFoundError, RequestError, UntrustedModelError
from lmx_daemon.contract.library import ImportRequest, VerifyUpdate
from lmx_daemon.library.disk.imports import sweep
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.prune import prunable
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.library import Library
from tests.library.repositories import flip, library_of, make_cached, make_folder

OLD, NEW = "1" * 40, "2" * 40
DAY = 86_400.0


def ids(library: Library) -> list[str]:
    return [model.id for model in library.registry.catalog.refresh()]


async def bring(library: Library, path: Path, identity: str | None = None, copy: bool = False) -> VerifyUpdate:
    request = ImportRequest(path=str(path), id=identity, copy=copy)
    return [update async for update in library.import_model(request)][-1]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def backdate(note: Path, seconds: float) -> None:
    """Make an entry of the trash older by both of its clocks."""
    kept = json.loads(note.read_text())
    note.write_text(json.dumps(kept | {key: kept.get(key, 0.0) - seconds for key in ("removed_at", "seen_at")}))


class TestRemoving:
    def test_it_is_gone_and_comes_back_byte_for_byte(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")
        before = (snapshot / "model.safetensors").read_bytes()
        library = library_of(tmp_path)
        row = library.remove("maker/one")
        assert row.size > len(before) and ids(library) == ["lmx/guide"]
        assert library_of(tmp_path).undo(None).id == "maker/one"  # also after a restart
        assert ids(library) == ["lmx/guide", "maker/one"]
        assert (snapshot / "model.safetensors").read_bytes() == before
        assert library.trash.rows() == []

    def test_the_hubs_own_tools_do_not_stumble_over_the_trash(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        make_cached(tmp_path / "cache", "maker/two")
        library_of(tmp_path).remove("maker/one")
        found = scan_cache_dir(tmp_path / "cache")
        assert [repo.repo_id for repo in found.repos] == ["maker/two"] and not found.warnings

    def test_not_while_it_is_in_memory(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")
        with pytest.raises(ConflictError) as refused:
            library_of(tmp_path, in_use=[str(snapshot)]).remove("maker/one")
        assert refused.value.hint is not None and "lmx unload maker/one" in refused.value.hint

    def test_model_whose_load_begins_meanwhile_is_brought_back(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one")

        class LoadedLater(list[str]):
            def __contains__(self, path: object) -> bool:
                self.append(str(path))
                return len(self) > 1

        with pytest.raises(ConflictError, match="in memory"):
            library_of(tmp_path, in_use=LoadedLater()).remove("maker/one")
        assert (snapshot / "config.json").exists()

    def test_not_while_it_is_pulled(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        with locked_now(RepositoryPaths(tmp_path / "cache", "maker/one")), pytest.raises(ConflictError):
            library.remove("maker/one")

    def test_only_what_is_lmxs_to_remove(self, tmp_path: Path) -> None:
        make_folder(tmp_path / "mine" / "one")
        library = library_of(tmp_path)
        for identity in ("local/one", "lmx/guide"):
            with pytest.raises(RequestError, match="lmx does not remove"):
                library.remove(identity)
        assert (tmp_path / "mine" / "one" / "config.json").exists()

    def test_unloading_is_not_asked_for_where_it_would_not_help(self, tmp_path: Path) -> None:
        path = library_of(tmp_path).registry.catalog.locate("lmx/guide").path
        with pytest.raises(RequestError, match="a part of lmx"):
            library_of(tmp_path, in_use=[path]).remove("lmx/guide")

    def test_what_has_taken_its_place_is_not_overwritten(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.remove("maker/one")
        make_cached(tmp_path / "cache", "maker/one", NEW)
        with pytest.raises(ConflictError):
            library.undo("maker/one")
        with pytest.raises(NotFoundError):
            library.undo("maker/two")

    def test_after_a_day_it_is_gone_for_good(self, tmp_path: Path) -> None:
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

    def test_a_disk_that_takes_no_file_is_freed_all_the_same(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        library = library_of(tmp_path)
        library.registry.find("maker/one")
        library.remove("maker/one")
        (tmp_path / "home" / "library" / "used.json").mkdir(parents=True)  # uses cannot be saved
        note = next((tmp_path / "cache" / ".locks" / "lmx-trash").glob("*/note.json"))
        backdate(note, 1.01 * DAY)
        library.tidy()
        assert library.trash.rows() == []

    def test_it_goes_before_a_disk_is_called_full(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            make_cached(tmp_path / "cache", f"maker/{name}")
        library = library_of(tmp_path)
        for name in ("one", "two"):
            library.remove(f"maker/{name}")
        library.trash.make_room(1, tmp_path)
        assert len(library.trash.rows()) == 2
        library.trash.make_room(2**62, tmp_path)
        assert library.trash.rows() == []


class TestDisk:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        """A repository with an old and a new revision (they share all but the weights), an orphan, and halves."""
        cache = tmp_path / "cache"
        make_cached(cache, "maker/one", OLD, side=100)
        make_cached(cache, "maker/one", NEW, side=200)
        blobs = cache / "models--maker--one" / "blobs"
        (blobs / ("f" * 64)).write_bytes(bytes(1000))
        (blobs / ("e" * 64 + ".lmx.incomplete")).write_bytes(bytes(500))
        (blobs / ("d" * 64 + ".incomplete")).write_bytes(bytes(70))
        age(blobs / ("f" * 64), 2 * DAY)
        age(blobs / ("d" * 64 + ".incomplete"), 30 * DAY)
        return cache

    def test_each_byte_is_counted_once(self, tmp_path: Path, cache: Path) -> None:
        use = library_of(tmp_path).space.use()
        (row,) = use.rows
        on_disk = sum(file.stat().st_size for file in (cache / "models--maker--one" / "blobs").iterdir())
        assert row.size == on_disk == use.total
        assert (row.orphans, row.partial) == (1000, 570)
        assert row.old == 100 * 100 * 4 + 80  # the old weights, and not what the revisions share
        assert row.size == row.current + row.old + row.orphans + row.partial

    def test_pruning_deletes_what_nobody_needs_and_nothing_else(self, tmp_path: Path, cache: Path) -> None:
        library = library_of(tmp_path)
        told = library.space.prune(dry_run=True)
        assert {row.what for row in told.rows} == {"unnamed revision", "orphan", "partial"}
        before = library.space.use().total
        done = library.space.prune(dry_run=False)
        assert done.freed == told.freed == before - library.space.use().total
        folder = cache / "models--maker--one"
        assert [snapshot.name for snapshot in (folder / "snapshots").iterdir()] == [NEW]
        assert all((folder / "snapshots" / NEW / name).exists() for name in ("config.json", "model.safetensors"))
        assert (folder / "blobs" / ("e" * 64 + ".lmx.incomplete")).exists()  # young: of a pull that may go on
        assert library.space.prune(dry_run=True).rows == ()

    def test_not_what_is_in_memory_or_being_pulled(self, tmp_path: Path, cache: Path) -> None:
        used = str(cache / "models--maker--one" / "snapshots" / OLD)
        assert "unnamed revision" not in {row.what for row in prunable(cache, [used], [], time.time())}
        assert prunable(cache, [], ["maker/one"], time.time()) == []

    def test_a_young_orphan_may_be_of_a_download_under_way(self, cache: Path) -> None:
        os.utime(cache / "models--maker--one" / "blobs" / ("f" * 64))
        assert "orphan" not in {row.what for row in prunable(cache, [], [], time.time())}

    def test_a_revision_with_a_name_stays(self, cache: Path) -> None:
        (cache / "models--maker--one" / "refs" / "v1").write_text(OLD)
        assert "unnamed revision" not in {row.what for row in prunable(cache, [], [], time.time())}

    def test_revisions_are_shown(self, tmp_path: Path, cache: Path) -> None:
        told = {row.commit: row for row in library_of(tmp_path).details("maker/one").revisions}
        assert told[NEW].current and told[NEW].refs == ("main",) and not told[OLD].current


class TestImporting:
    async def test_links_by_default_and_hashes_are_recorded(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        told = [update async for update in library.import_model(ImportRequest(path=str(folder)))]
        last = told[-1]
        assert told[0].state == "linking"
        assert (last.state, last.id, last.files) == ("recorded", "else/where", 5)
        model = library.registry.catalog.locate("else/where")
        assert model.source == "imported" and model.problem is None and model.verified_at is not None
        assert (Path(model.path) / "model.safetensors").readlink() == folder / "model.safetensors"
        flip(folder / "model.safetensors")
        library.registry.catalog.refresh()
        assert library.registry.catalog.locate("else/where").problem is not None

    async def test_checks_before_an_import_run_in_a_thread(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that does not answer must not block the event loop."""
        loop_thread, threads = threading.get_ident(), set()
        real_exists, real_usage = Path.exists, shutil.disk_usage

        def exists(path: Path) -> bool:
            threads.add(threading.get_ident())
            return real_exists(path)

        def disk_usage(path: Path) -> object:
            threads.add(threading.get_ident())
            return real_usage(path)

        folder, library = make_folder(tmp_path / "else" / "where"), library_of(tmp_path)
        monkeypatch.setattr(Path, "exists", exists)
        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        assert (await bring(library, folder, copy=True)).state == "recorded"
        assert threads and loop_thread not in threads

    async def test_a_copy_does_without_the_original(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        told = [u async for u in library.import_model(ImportRequest(path=str(folder), id="me/mine", copy=True))]
        assert (told[0].state, told[-1].state) == ("copying", "recorded")
        shutil.rmtree(folder)
        assert library.registry.clear(library.registry.catalog.locate("me/mine")) is False

    async def test_two_at_once_of_one_name(self, tmp_path: Path) -> None:
        """The one that comes second fails; the first is whole."""
        folder = make_folder(tmp_path / "else" / "where", side=1000)
        library = library_of(tmp_path)
        both = [bring(library, folder, "me/mine", copy=True) for _ in range(2)]
        states = sorted(update.state for update in await asyncio.gather(*both))
        assert states == ["failed", "recorded"]
        here = Path(library.registry.catalog.locate("me/mine").path)
        assert {f.name: f.read_bytes() for f in here.iterdir()} == {f.name: f.read_bytes() for f in folder.iterdir()}
        assert [child.name for child in here.parent.iterdir()] == ["mine"]

    def test_what_a_kill_left_of_a_copy_goes_at_the_start(self, tmp_path: Path) -> None:
        half = tmp_path / "models" / "me" / ".abc.lmx"
        half.mkdir(parents=True)
        (half / "model.safetensors").write_bytes(b"half")
        make_folder(tmp_path / "models" / "me" / "whole")
        sweep(tmp_path / "models")
        assert [child.name for child in (tmp_path / "models" / "me").iterdir()] == ["whole"]

    async def test_a_single_file_of_another_name(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where", weights="my-net.safetensors")
        library = library_of(tmp_path)
        assert (await bring(library, folder / "my-net.safetensors")).id == "where/my-net"
        model = library.registry.catalog.locate("where/my-net")
        assert model.problem is None
        assert (Path(model.path) / "model.safetensors").readlink() == folder / "my-net.safetensors"

    async def test_removing_takes_the_links_and_leaves_the_files(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        await bring(library, folder)
        library.remove("else/where")
        assert ids(library) == ["lmx/guide"] and (folder / "model.safetensors").exists()
        library.undo(None)
        assert library.registry.catalog.locate("else/where").problem is None

    async def test_one_that_cannot_be_recorded_is_taken_back(self, tmp_path: Path) -> None:
        """As on a full disk: the proof has no room."""
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        proofs = tmp_path / "home" / "library" / "proofs"
        proofs.parent.mkdir(parents=True, exist_ok=True)
        proofs.write_bytes(b"in the way")
        told = await bring(library, folder, copy=True)
        assert told.state == "failed" and told.error is not None
        assert ids(library) == ["lmx/guide"] and not (tmp_path / "home" / "models" / "else" / "where").exists()
        proofs.unlink()
        assert (await bring(library, folder, copy=True)).state == "recorded"

    async def test_not_under_the_id_of_another_model(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        library.registry.catalog.refresh()
        with pytest.raises(ConflictError, match="another model is named maker/one"):
            await bring(library, folder, "maker/one")

    async def test_its_code_is_found(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        (folder / "modeling.py").write_text("pass")
        library = library_of(tmp_path)
        await bring(library, folder)
        with pytest.raises(UntrustedModelError):
            library.registry.clear(library.registry.catalog.locate("else/where"))

    @pytest.mark.parametrize("what", ["missing", "gguf", "no weights", "no config", "broken", "file", "twice", "id"])
    async def test_what_is_no_model_is_refused_and_leaves_nothing(self, tmp_path: Path, what: str) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        library, path, identity = library_of(tmp_path), folder, None
        match what:
            case "missing":
                path = tmp_path / "nowhere"
            case "gguf":
                path = folder / "model.gguf"
                path.write_bytes(b"GGUF")
            case "no weights":
                (folder / "model.safetensors").unlink()
            case "no config":
                (folder / "config.json").unlink()
            case "broken":
                (folder / "model.safetensors").write_bytes(b"x" * 100)
            case "file":
                path = folder / "README.md"
            case "twice":
                await bring(library, folder)
            case "id":
                identity = "../evil"
        before = sorted((tmp_path / "home").rglob("*"))
        with pytest.raises(LmxError) as refused:
            await bring(library, path, identity)
        assert refused.value.message
        assert sorted((tmp_path / "home").rglob("*")) == before
