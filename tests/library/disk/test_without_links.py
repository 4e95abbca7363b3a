"""A cache on a disk without symbolic links (exFAT, SMB): snapshots of real files. The system's error is faked."""

import errno
import os
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.files import VerifyRequest
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.model_registry import ModelRegistry
from lmx_daemon.library.disk.cached_repository import read_repository
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from lmx_daemon.library.verify.manifest import ManifestFile
from lmx_daemon.library.verify.verifier import Verifier
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import WHOLE, folder_of, pull, visible
from tests.library.pull.test_pull import bytes_asked_for
from tests.library.repositories import flip, make_cached


@pytest.fixture(autouse=True)
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object, *rest: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(target))

    monkeypatch.setattr(os, "symlink", refuse)


async def test_pull_leaves_real_files_and_a_second_pull_fetches_nothing(
    pulls: PullQueue, environ: dict[str, str], hub: StandIn
) -> None:
    done = await pull(pulls)
    assert (done.state, done.error) == ("done", None)
    snapshot = folder_of(environ) / "snapshots" / str(done.revision)
    assert visible(environ) == WHOLE and not any(path.is_symlink() for path in snapshot.iterdir())
    assert list((folder_of(environ) / "blobs").iterdir()) == []
    model = Catalog(environ).locate(REPO)
    assert model.problem is None and model.parameters == 810_000
    hub.requests()
    again = await pull(pulls)
    assert (again.state, again.error) == ("done", None) and bytes_asked_for(hub) == []


async def test_size_and_repair_work_with_real_files(
    pulls: PullQueue, environ: dict[str, str], hub: StandIn, tmp_path: Path
) -> None:
    done = await pull(pulls)
    snapshot = folder_of(environ) / "snapshots" / str(done.revision)
    found = read_repository(folder_of(environ), REPO)
    assert found.size([str(done.revision)]) == sum(path.stat().st_size for path in snapshot.iterdir()) == done.total
    proving = Verifier(ModelRegistry(Home(tmp_path / "home"), lambda: LibrarySettings(lmstudio=False), environ), pulls)
    assert [update async for update in proving.verify(VerifyRequest(id=REPO))][-1].state == "sound"
    flip(snapshot / "model.safetensors")
    assert [update async for update in proving.verify(VerifyRequest(id=REPO))][-1].state == "changed"
    repaired = [update async for update in proving.verify(VerifyRequest(id=REPO, repair=True))][-1]
    assert repaired.state == "repaired"
    assert (snapshot / "model.safetensors").read_bytes() == (hub.root / REPO / "model.safetensors").read_bytes()


async def test_two_files_with_the_same_bytes_are_both_written(
    pulls: PullQueue, environ: dict[str, str], hub: StandIn
) -> None:
    (hub.root / REPO / "special_tokens_map.json").write_text("{}")  # the same bytes as tokenizer.json
    done = await pull(pulls)
    (hub.root / REPO / "special_tokens_map.json").unlink()
    assert (done.state, done.error) == ("done", None)
    snapshot = folder_of(environ) / "snapshots" / str(done.revision)
    assert (snapshot / "tokenizer.json").read_text() == (snapshot / "special_tokens_map.json").read_text() == "{}"


async def test_interrupted_publication_is_completed_by_the_next_pull(
    pulls: PullQueue, environ: dict[str, str], hub: StandIn
) -> None:
    done = await pull(pulls)
    folder = folder_of(environ)
    snapshot = folder / "snapshots" / str(done.revision)
    (snapshot / "config.json").unlink()
    hub.requests()
    assert (await pull(pulls)).state == "done"
    assert [path.rpartition("/")[2] for path in bytes_asked_for(hub)] == ["config.json"]
    assert visible(environ) == WHOLE


@pytest.mark.parametrize("where", ["own snapshot", "another repository", "before the pull"])
def test_discard_keeps_files_that_are_needed(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cache = tmp_path / "cache"
    snapshot = make_cached(cache, "maker/one")
    blob = (snapshot / "model.safetensors").resolve()
    since = 0.0
    match where:
        case "another repository":
            other = cache / "models--maker--two" / "snapshots" / ("2" * 40)
            other.mkdir(parents=True)
            (other / "model.safetensors").symlink_to(blob)
            (snapshot / "model.safetensors").unlink()
        case "before the pull":
            (snapshot / "model.safetensors").unlink()
            since = blob.stat().st_mtime + 60
    writer = RepositoryWriter(RepositoryPaths(cache, "maker/one"))
    file = ManifestFile(path="model.safetensors", size=blob.stat().st_size, sha256=blob.name)
    assert writer.discard([file], since) == 0 and blob.exists()
