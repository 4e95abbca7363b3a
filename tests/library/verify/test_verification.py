"""Verifying, refusing what has changed, repairing, recording."""

import os
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConflictError, ModelLoadError, RequestError
from lmx_daemon.contract.library import VerifyRequest, VerifyUpdate
from lmx_daemon.contract.pulls import PullRequest
from lmx_daemon.contract.types import Model
from lmx_daemon.library.librarian import Librarian
from lmx_daemon.memory.need import Demand, Device, plan_for
from lmx_daemon.memory.shape import read_shape
from tests.library.conftest import REPO, StandIn
from tests.library.repositories import flip, librarian_of, make_cached, make_folder

OTHER = "maker/other"


@pytest.fixture
def librarian(environ: dict[str, str], tmp_path: Path) -> Librarian:
    return librarian_of(tmp_path, environ)


@pytest.fixture
def cached(environ: dict[str, str]) -> Path:
    """The snapshot of a model that another program has fetched."""
    return make_cached(Path(environ["HF_HUB_CACHE"]), OTHER)


async def verify(librarian: Librarian, identity: str, **how: bool) -> VerifyUpdate:
    last = [update async for update in librarian.proving.verify(VerifyRequest(id=identity, **how))][-1]
    return last


async def pulled(librarian: Librarian) -> Model:
    job = await librarian.pulls.start(PullRequest(repo=REPO))
    ended = [told async for told in librarian.pulls.watch(job.id)][-1]
    assert ended.state == "done", ended.error
    librarian.shelf.catalog.refresh()
    return librarian.shelf.catalog.locate(REPO)


class TestAgainstTheCachesOwnNames:
    async def test_a_sound_model_is_proved_offline(self, librarian: Librarian, cached: Path, hub: StandIn) -> None:
        last = await verify(librarian, OTHER)
        assert (last.state, last.files, last.against) == ("sound", 5, "the cache's hashes")
        assert hub.requests() == []
        assert librarian.shelf.catalog.locate(OTHER).verified_at is not None

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    async def test_one_flipped_byte_is_found_by_name(self, librarian: Librarian, cached: Path, name: str) -> None:
        flip(cached / name)
        last = await verify(librarian, OTHER)
        assert last.state == "changed" and [row.path for row in last.faults] == [name]
        assert librarian.shelf.proofs.get(librarian.shelf.catalog.locate(OTHER)) is None

    async def test_a_missing_file_is_found(self, librarian: Librarian, cached: Path) -> None:
        await verify(librarian, OTHER)
        (cached / "tokenizer.json").unlink()
        last = await verify(librarian, OTHER)
        assert [(row.path, row.state) for row in last.faults] == [("tokenizer.json", "missing")]


class TestLoading:
    async def test_a_changed_file_is_refused_with_the_way_out(self, librarian: Librarian, cached: Path) -> None:
        await verify(librarian, OTHER)
        model = librarian.shelf.catalog.locate(OTHER)
        assert model.problem is None and librarian.shelf.clear(model) is False
        flip(cached / "model.safetensors")
        with pytest.raises(ModelLoadError) as refused:
            librarian.shelf.clear(model)
        assert refused.value.hint is not None and f"lmx verify {OTHER} --repair" in refused.value.hint
        librarian.shelf.catalog.refresh()
        assert "lmx verify" in str(librarian.shelf.catalog.locate(OTHER).problem)

    async def test_touching_alone_asks_for_a_proof_which_restores_it(self, librarian: Librarian, cached: Path) -> None:
        await verify(librarian, OTHER)
        os.utime(os.path.realpath(cached / "config.json"), (1, 1))
        librarian.shelf.catalog.refresh()
        assert librarian.shelf.catalog.locate(OTHER).problem is not None
        assert (await verify(librarian, OTHER)).state == "sound"
        assert librarian.shelf.catalog.locate(OTHER).problem is None

    async def test_weights_that_came_later_are_refused(self, librarian: Librarian, cached: Path) -> None:
        """mlx-lm would read them as a part of the model."""
        await verify(librarian, OTHER)
        (cached / "model-of-somebody.safetensors").write_bytes((cached / "model.safetensors").read_bytes())
        (cached / "notes.txt").write_text("no part of the model")
        with pytest.raises(ModelLoadError, match=r"somebody\.safetensors was added"):
            librarian.shelf.clear(librarian.shelf.catalog.locate(OTHER))
        shown = {row.path: (row.state, row.note) for row in librarian.details(OTHER).files}
        assert shown["model-of-somebody.safetensors"] == ("changed", "was added")
        assert shown["notes.txt"] == ("unproved", None)
        last = await verify(librarian, OTHER)
        assert [(row.path, row.note) for row in last.faults] == [
            ("model-of-somebody.safetensors", "is not in the manifest")
        ]
        assert (await verify(librarian, OTHER, accept=True)).state == "recorded"
        assert librarian.shelf.clear(librarian.shelf.catalog.locate(OTHER)) is False

    async def test_weights_that_no_hash_names_are_not_called_sound(self, librarian: Librarian, cached: Path) -> None:
        """A file among the cache's links, as a tool leaves it that copies."""
        content = (cached / "model.safetensors").read_bytes()
        (cached / "model.safetensors").unlink()
        (cached / "model.safetensors").write_bytes(content)
        assert (await verify(librarian, OTHER)).state == "changed"

    async def test_what_is_written_while_it_is_hashed_is_seen(self, librarian: Librarian, cached: Path) -> None:
        with (cached / "notes.txt").open("wb") as large:
            large.truncate(800_000_000)  # as long as half a second, and the first to be hashed
        written = False
        async for told in librarian.proving.verify(VerifyRequest(id=OTHER, accept=True)):
            if 0 < told.done < told.total:
                os.utime(cached / "notes.txt")
                written = True
        assert written and told.state == "recorded"
        with pytest.raises(ModelLoadError, match="txt was written to"):
            librarian.shelf.clear(librarian.shelf.catalog.locate(OTHER))

    async def test_a_header_that_makes_no_sense_is_refused_even_unproved(
        self, librarian: Librarian, cached: Path
    ) -> None:
        Path(os.path.realpath(cached / "model.safetensors")).write_bytes(b"\xff" * 64)
        model = librarian.shelf.catalog.locate(OTHER)
        with pytest.raises(ModelLoadError, match="header"):
            librarian.shelf.clear(model)


class TestBuiltIn:
    def test_it_is_a_part_of_lmx(self, librarian: Librarian) -> None:
        told = librarian.details("lmx/guide")
        assert told.proof == "it is a part of lmx"
        assert {row.state for row in told.files} == {"built-in"}

    def test_a_models_plan_is_that_of_loading_it(self, librarian: Librarian, environ: dict[str, str]) -> None:
        make_cached(Path(environ["HF_HUB_CACHE"]), OTHER, max_position_embeddings=131_072)
        model = librarian.shelf.catalog.locate(OTHER)
        told = librarian.details(model.id).memory
        assert told == plan_for(read_shape(Path(model.path)), Demand(), Device(cpu=False))


class TestRepair:
    @pytest.mark.parametrize("harm", ["flip", "missing", "truncated", "unseen", "no link"])
    async def test_only_what_is_wrong_is_fetched(self, librarian: Librarian, hub: StandIn, harm: str) -> None:
        model = await pulled(librarian)
        await verify(librarian, REPO)
        blob = Path(os.path.realpath(Path(model.path) / "model.safetensors"))
        match harm:
            case "flip":
                flip(blob)
            case "unseen":  # a disk's own error: the time does not tell
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
        last = await verify(librarian, REPO, repair=True)
        assert (last.state, [row.path for row in last.faults]) == ("repaired", ["model.safetensors"])
        fetched = [r["path"] for r in hub.requests() if "/resolve/" in r["path"] and r["method"] == "GET"]
        assert len(fetched) == 1 and fetched[0].endswith("model.safetensors")
        assert blob.read_bytes() == (hub.root / REPO / "model.safetensors").read_bytes()
        assert librarian.shelf.catalog.locate(REPO).problem is None

    async def test_without_the_hub_it_fails_and_says_so(self, librarian: Librarian, hub: StandIn) -> None:
        model = await pulled(librarian)
        flip(Path(model.path) / "model.safetensors")
        hub.faults(status=404, status_times=100)
        changed = (Path(model.path) / "model.safetensors").read_bytes()
        last = await verify(librarian, REPO, repair=True)
        assert last.state == "failed" and last.error is not None
        assert (Path(model.path) / "model.safetensors").read_bytes() == changed  # it may be somebody's own

    async def test_a_model_from_elsewhere_cannot_be_fetched(self, librarian: Librarian, tmp_path: Path) -> None:
        make_folder(tmp_path / "mine" / "one")
        with pytest.raises(RequestError, match="Hub"):
            await verify(librarian, "local/one", repair=True)


class TestRecording:
    async def test_one_from_elsewhere_gets_its_own_manifest(self, librarian: Librarian, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "mine" / "one")
        assert (await verify(librarian, "local/one")).state == "recorded"
        assert (await verify(librarian, "local/one")).state == "sound"
        flip(folder / "model.safetensors")
        assert (await verify(librarian, "local/one")).state == "changed"
        assert (await verify(librarian, "local/one", accept=True)).state == "recorded"
        assert librarian.shelf.catalog.locate("local/one").problem is None

    async def test_two_at_once_are_one_too_many(self, librarian: Librarian, cached: Path) -> None:
        first = librarian.proving.verify(VerifyRequest(id=OTHER))
        await anext(first)
        with pytest.raises(ConflictError):
            await verify(librarian, OTHER)
        assert [update async for update in first][-1].state == "sound"
        assert (await verify(librarian, OTHER)).state == "sound"

    async def test_a_manifest_that_points_outside_is_no_manifest(self, librarian: Librarian, cached: Path) -> None:
        await verify(librarian, OTHER)
        model = librarian.shelf.catalog.locate(OTHER)
        file = librarian.shelf.proofs.file_of(model)
        file.write_text(file.read_text().replace("config.json", "../../../etc/passwd", 1))
        assert librarian.shelf.proofs.get(model) is None
