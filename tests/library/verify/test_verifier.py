"""Verification, refusal of changed models, repair, and recording."""

import errno
import os
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.files import VerifyRequest, VerifyUpdate
from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import ConflictError, DiskError, ModelLoadError, RequestError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.library import Library
from lmx_daemon.memory.need import Demand, Device, plan_for
from lmx_daemon.memory.shape import read_shape
from tests.library.conftest import REPO, StandIn
from tests.library.repositories import flip, library_of, make_cached, make_folder

OTHER = "maker/other"


@pytest.fixture
def library(environ: dict[str, str], tmp_path: Path) -> Library:
    return library_of(tmp_path, environ)


@pytest.fixture
def cached(environ: dict[str, str]) -> Path:
    """Return the snapshot of a model that another program has pulled."""
    return make_cached(Path(environ["HF_HUB_CACHE"]), OTHER)


async def verify(library: Library, identity: str, **how: bool) -> VerifyUpdate:
    last = [update async for update in library.verifier.verify(VerifyRequest(id=identity, **how))][-1]
    return last


async def pulled(library: Library) -> Model:
    job = await library.pulls.start(PullRequest(repo=REPO))
    ended = [update async for update in library.pulls.watch(job.id)][-1]
    assert ended.state == "done", ended.error
    library.registry.catalog.refresh()
    return library.registry.catalog.locate(REPO)


class TestBlobNames:
    async def test_unchanged_model_is_verified_offline(self, library: Library, cached: Path, hub: StandIn) -> None:
        last = await verify(library, OTHER)
        assert (last.state, last.files, last.against) == ("sound", 5, "the cache's hashes")
        assert hub.requests() == []
        assert library.registry.catalog.locate(OTHER).verified_at is not None

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    async def test_flipped_byte_is_reported_with_its_file(self, library: Library, cached: Path, name: str) -> None:
        flip(cached / name)
        last = await verify(library, OTHER)
        assert last.state == "changed" and [row.path for row in last.faults] == [name]
        assert library.registry.manifests.get(library.registry.catalog.locate(OTHER)) is None

    async def test_missing_file_is_reported(self, library: Library, cached: Path) -> None:
        await verify(library, OTHER)
        (cached / "tokenizer.json").unlink()
        last = await verify(library, OTHER)
        assert [(row.path, row.state) for row in last.faults] == [("tokenizer.json", "missing")]


class TestLoading:
    async def test_changed_file_is_refused_with_a_hint(self, library: Library, cached: Path) -> None:
        await verify(library, OTHER)
        model = library.registry.catalog.locate(OTHER)
        assert model.problem is None and library.registry.clear(model) is False
        flip(cached / "model.safetensors")
        with pytest.raises(ModelLoadError) as refused:
            library.registry.clear(model)
        assert refused.value.hint is not None and f"lmx verify {OTHER} --repair" in refused.value.hint
        library.registry.catalog.refresh()
        assert "lmx verify" in str(library.registry.catalog.locate(OTHER).problem)

    async def test_touched_file_needs_a_verification(self, library: Library, cached: Path) -> None:
        await verify(library, OTHER)
        os.utime(os.path.realpath(cached / "config.json"), (1, 1))
        library.registry.catalog.refresh()
        assert library.registry.catalog.locate(OTHER).problem is not None
        assert (await verify(library, OTHER)).state == "sound"
        assert library.registry.catalog.locate(OTHER).problem is None

    async def test_added_weights_are_refused(self, library: Library, cached: Path) -> None:
        """mlx-lm would load them as a part of the model."""
        await verify(library, OTHER)
        (cached / "model-foreign.safetensors").write_bytes((cached / "model.safetensors").read_bytes())
        (cached / "notes.txt").write_text("no part of the model")
        with pytest.raises(ModelLoadError, match=r"model-foreign\.safetensors was added"):
            library.registry.clear(library.registry.catalog.locate(OTHER))
        shown = {row.path: (row.state, row.note) for row in library.details(OTHER).files}
        assert shown["model-foreign.safetensors"] == ("changed", "was added")
        assert shown["notes.txt"] == ("unproved", None)
        last = await verify(library, OTHER)
        assert [(row.path, row.note) for row in last.faults] == [
            ("model-foreign.safetensors", "is not in the manifest")
        ]
        assert (await verify(library, OTHER, accept=True)).state == "recorded"
        assert library.registry.clear(library.registry.catalog.locate(OTHER)) is False

    async def test_weights_without_a_hash_are_not_verified(self, library: Library, cached: Path) -> None:
        """A program that copies leaves a file among the links of the cache."""
        content = (cached / "model.safetensors").read_bytes()
        (cached / "model.safetensors").unlink()
        (cached / "model.safetensors").write_bytes(content)
        assert (await verify(library, OTHER)).state == "changed"

    async def test_write_during_the_hashing_is_detected(self, library: Library, cached: Path) -> None:
        with (cached / "notes.txt").open("wb") as large:
            large.truncate(800_000_000)  # as long as half a second, and the first to be hashed
        written = False
        async for update in library.verifier.verify(VerifyRequest(id=OTHER, accept=True)):
            if 0 < update.done < update.total:
                os.utime(cached / "notes.txt")
                written = True
        assert written and update.state == "recorded"
        with pytest.raises(ModelLoadError, match="txt was written to"):
            library.registry.clear(library.registry.catalog.locate(OTHER))

    async def test_invalid_header_is_refused_without_a_manifest(self, library: Library, cached: Path) -> None:
        Path(os.path.realpath(cached / "model.safetensors")).write_bytes(b"\xff" * 64)
        model = library.registry.catalog.locate(OTHER)
        with pytest.raises(ModelLoadError, match="header"):
            library.registry.clear(model)


class TestBuiltIn:
    def test_built_in_model_is_not_verified(self, library: Library) -> None:
        details = library.details("lmx/guide")
        assert details.proof == "it is a part of lmx"
        assert {row.state for row in details.files} == {"built-in"}

    def test_details_have_the_memory_plan_of_a_load(self, library: Library, environ: dict[str, str]) -> None:
        make_cached(Path(environ["HF_HUB_CACHE"]), OTHER, max_position_embeddings=131_072)
        model = library.registry.catalog.locate(OTHER)
        plan = library.details(model.id).memory
        assert plan == plan_for(read_shape(Path(model.path)), Demand(), Device(cpu=False))


class TestRepair:
    @pytest.mark.parametrize("harm", ["flip", "missing", "truncated", "unseen", "no link"])
    async def test_repair_fetches_only_the_wrong_files(self, library: Library, hub: StandIn, harm: str) -> None:
        model = await pulled(library)
        await verify(library, REPO)
        blob = Path(os.path.realpath(Path(model.path) / "model.safetensors"))
        match harm:
            case "flip":
                flip(blob)
            case "unseen":  # a disk's own error: the time stays the same
                times = blob.stat()
                flip(blob)
                os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
            case "no link":  # another program has copied it
                content = blob.read_bytes()
                blob.unlink()
                (Path(model.path) / "model.safetensors").unlink()
                (Path(model.path) / "model.safetensors").write_bytes(content[:-1])
            case "missing":
                blob.unlink()
            case _:
                os.truncate(blob, 100)
        hub.requests()
        last = await verify(library, REPO, repair=True)
        assert (last.state, [row.path for row in last.faults]) == ("repaired", ["model.safetensors"])
        fetched = [r["path"] for r in hub.requests() if "/resolve/" in r["path"] and r["method"] == "GET"]
        assert len(fetched) == 1 and fetched[0].endswith("model.safetensors")
        assert blob.read_bytes() == (hub.root / REPO / "model.safetensors").read_bytes()
        assert library.registry.catalog.locate(REPO).problem is None

    async def test_repair_without_the_hub_fails_with_an_error(self, library: Library, hub: StandIn) -> None:
        model = await pulled(library)
        flip(Path(model.path) / "model.safetensors")
        hub.faults(status=404, status_times=100)
        changed = (Path(model.path) / "model.safetensors").read_bytes()
        last = await verify(library, REPO, repair=True)
        assert last.state == "failed" and last.error is not None
        assert (Path(model.path) / "model.safetensors").read_bytes() == changed  # it may belong to the user

    async def test_imported_model_cannot_be_repaired(self, library: Library, tmp_path: Path) -> None:
        make_folder(tmp_path / "mine" / "one")
        with pytest.raises(RequestError, match="Hub"):
            await verify(library, "local/one", repair=True)


class TestRecording:
    async def test_accepted_model_gets_its_own_manifest(self, library: Library, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "mine" / "one")
        assert (await verify(library, "local/one")).state == "recorded"
        assert (await verify(library, "local/one")).state == "sound"
        flip(folder / "model.safetensors")
        assert (await verify(library, "local/one")).state == "changed"
        assert (await verify(library, "local/one", accept=True)).state == "recorded"
        assert library.registry.catalog.locate("local/one").problem is None

    async def test_second_simultaneous_verification_is_refused(self, library: Library, cached: Path) -> None:
        first = library.verifier.verify(VerifyRequest(id=OTHER))
        await anext(first)
        with pytest.raises(ConflictError):
            await verify(library, OTHER)
        assert [update async for update in first][-1].state == "sound"
        assert (await verify(library, OTHER)).state == "sound"

    async def test_manifest_with_paths_outside_the_folder_is_ignored(self, library: Library, cached: Path) -> None:
        await verify(library, OTHER)
        model = library.registry.catalog.locate(OTHER)
        file = library.registry.manifests.file_of(model)
        file.write_text(file.read_text().replace("config.json", "../../../etc/passwd", 1))
        assert library.registry.manifests.get(model) is None


class TestFilesOutsideTheCache:
    async def test_repair_keeps_the_time_of_a_file_outside_the_cache(self, library: Library, tmp_path: Path) -> None:
        model = await pulled(library)
        mine = tmp_path / "mine.json"
        mine.write_text("{}")
        os.utime(mine, (1, 1))
        file = Path(model.path) / "config.json"
        file.unlink()
        file.symlink_to(mine)
        assert (await verify(library, REPO, repair=True)).state == "repaired"
        assert mine.stat().st_mtime == 1 and mine.read_text() == "{}"


class TestFullDisk:
    @pytest.fixture
    def full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("lmx_daemon.library.verify.manifest.write_file", fail)
        monkeypatch.setattr("lmx_daemon.library.trash.trash.write_file", fail)

    async def test_verification_on_a_full_disk_reports_its_result(
        self, library: Library, cached: Path, full: None
    ) -> None:
        assert (await verify(library, OTHER)).state == "sound"
        assert (await verify(library, OTHER, accept=True)).state == "failed"

    def test_removal_on_a_full_disk_names_what_frees_space(self, library: Library, cached: Path, full: None) -> None:
        library.registry.catalog.refresh()
        with pytest.raises(DiskError, match="the disk is full") as refused:
            library.remove(OTHER)
        assert refused.value.hint and "lmx rm --empty" in refused.value.hint
        assert cached.exists() and library.trash.rows() == []
