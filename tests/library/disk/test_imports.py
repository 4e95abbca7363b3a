"""Imports of models from any folder."""

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.files import ImportRequest, VerifyUpdate
from lmx_daemon.contract.errors import ConflictError, LmxError, RequestError, UntrustedModelError
from lmx_daemon.library.disk.imports import sweep
from lmx_daemon.library.library import Library
from tests.library.repositories import flip, library_of, make_cached, make_folder

OLD, NEW = "1" * 40, "2" * 40
DAY = 86_400.0


def ids(library: Library) -> list[str]:
    return [model.id for model in library.registry.catalog.refresh()]


async def bring(library: Library, path: Path, identity: str | None = None, copy: bool = False) -> VerifyUpdate:
    request = ImportRequest(path=str(path), id=identity, copy=copy)
    return [update async for update in library.imports.add(request)][-1]


class TestImporting:
    async def test_import_links_by_default_and_records_hashes(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        updates = [update async for update in library.imports.add(ImportRequest(path=str(folder)))]
        last = updates[-1]
        assert updates[0].state == "linking"
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

    async def test_copy_works_without_the_original(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        updates = [u async for u in library.imports.add(ImportRequest(path=str(folder), id="me/mine", copy=True))]
        assert (updates[0].state, updates[-1].state) == ("copying", "recorded")
        shutil.rmtree(folder)
        assert library.registry.clear(library.registry.catalog.locate("me/mine")) is False

    async def test_second_of_two_simultaneous_imports_fails(self, tmp_path: Path) -> None:
        """The first import is complete."""
        folder = make_folder(tmp_path / "else" / "where", side=1000)
        library = library_of(tmp_path)
        both = [bring(library, folder, "me/mine", copy=True) for _ in range(2)]
        states = sorted(update.state for update in await asyncio.gather(*both))
        assert states == ["failed", "recorded"]
        here = Path(library.registry.catalog.locate("me/mine").path)
        assert {f.name: f.read_bytes() for f in here.iterdir()} == {f.name: f.read_bytes() for f in folder.iterdir()}
        assert [child.name for child in here.parent.iterdir()] == ["mine"]

    def test_sweep_removes_unfinished_imports(self, tmp_path: Path) -> None:
        half = tmp_path / "models" / "me" / ".abc.lmx"
        half.mkdir(parents=True)
        (half / "model.safetensors").write_bytes(b"half")
        make_folder(tmp_path / "models" / "me" / "whole")
        sweep(tmp_path / "models")
        assert [child.name for child in (tmp_path / "models" / "me").iterdir()] == ["whole"]

    async def test_single_weight_file_is_imported_under_the_usual_name(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where", weights="my-net.safetensors")
        library = library_of(tmp_path)
        assert (await bring(library, folder / "my-net.safetensors")).id == "where/my-net"
        model = library.registry.catalog.locate("where/my-net")
        assert model.problem is None
        assert (Path(model.path) / "model.safetensors").readlink() == folder / "my-net.safetensors"

    async def test_removal_of_a_linked_import_keeps_the_original_files(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        await bring(library, folder)
        library.remove("else/where")
        assert ids(library) == ["lmx/guide"] and (folder / "model.safetensors").exists()
        library.undo(None)
        assert library.registry.catalog.locate("else/where").problem is None

    async def test_import_that_cannot_be_recorded_is_removed(self, tmp_path: Path) -> None:
        """The manifest cannot be written, as on a full disk."""
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        proofs = tmp_path / "home" / "library" / "proofs"
        proofs.parent.mkdir(parents=True, exist_ok=True)
        proofs.write_bytes(b"in the way")
        updates = await bring(library, folder, copy=True)
        assert updates.state == "failed" and updates.error is not None
        assert ids(library) == ["lmx/guide"] and not (tmp_path / "home" / "models" / "else" / "where").exists()
        proofs.unlink()
        assert (await bring(library, folder, copy=True)).state == "recorded"

    async def test_id_of_another_model_is_refused(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        folder = make_folder(tmp_path / "else" / "where")
        library = library_of(tmp_path)
        library.registry.catalog.refresh()
        with pytest.raises(ConflictError, match="another model is named maker/one"):
            await bring(library, folder, "maker/one")

    async def test_code_of_an_imported_model_is_detected(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        (folder / "modeling.py").write_text("pass")
        library = library_of(tmp_path)
        await bring(library, folder)
        with pytest.raises(UntrustedModelError):
            library.registry.clear(library.registry.catalog.locate("else/where"))

    @pytest.mark.parametrize("what", ["missing", "gguf", "no weights", "no config", "broken", "file", "twice", "id"])
    async def test_invalid_import_is_refused_and_leaves_nothing(self, tmp_path: Path, what: str) -> None:
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


class TestLinkedOwner:
    @pytest.mark.parametrize("link", ["models", "models/own"])
    def test_folders_behind_a_link_are_not_swept(self, tmp_path: Path, link: str) -> None:
        elsewhere = tmp_path / "elsewhere"
        unfinished = elsewhere / ("own/.mine.lmx" if link == "models" else ".mine.lmx")
        unfinished.mkdir(parents=True)
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(elsewhere)
        sweep(tmp_path / "models")
        assert unfinished.is_dir()

    def test_model_behind_a_link_is_listed_and_not_removed(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "elsewhere" / "one")
        (tmp_path / "home" / "models").mkdir(parents=True)
        (tmp_path / "home" / "models" / "own").symlink_to(tmp_path / "elsewhere")
        library = library_of(tmp_path)
        assert "own/one" in ids(library)
        with pytest.raises(RequestError, match="behind the link"):
            library.remove("own/one")
        assert (folder / "config.json").exists() and library.trash.rows() == []
