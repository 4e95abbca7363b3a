"""Links in the place of a repository's own folders: nothing behind them is written or deleted."""

import shutil
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.files import VerifyRequest
from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import DiskError
from lmx_daemon.library.pull.pull_queue import PullQueue
from tests.library.conftest import REPO, StandIn
from tests.library.disk.test_links import NEW, OLD, contents
from tests.library.pull.pulling import folder_of, pull, visible
from tests.library.repositories import library_of, make_cached

PARTS = [".lmx", "blobs", "snapshots", "refs", ".lmx/stage", ".lmx/quarantine"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Return a folder of the user with names that lmx uses too."""
    for name in ("stage", "quarantine", "sub"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / "elsewhere" / name / "mine").write_text("mine")
    for name in ("main", "config.json", "model.safetensors", "copy"):
        (tmp_path / "elsewhere" / name).write_text("mine")
    return tmp_path / "elsewhere"


def assert_refused(failed: Download, link: Path) -> None:
    assert failed.state == "failed" and failed.error is not None and failed.error.code == "disk_error"
    assert f"{link} is a link" in failed.error.message and failed.error.hint


class TestPulling:
    @pytest.mark.parametrize("part", PARTS)
    async def test_pull_into_a_linked_folder_fails_and_changes_nothing_behind_it(
        self, pulls: PullQueue, environ: dict[str, str], elsewhere: Path, part: str
    ) -> None:
        before, link = contents(elsewhere), folder_of(environ) / part
        link.parent.mkdir(parents=True)
        link.symlink_to(elsewhere)
        assert_refused(await pull(pulls), link)
        assert contents(elsewhere) == before
        link.unlink()
        assert (await pull(pulls)).state == "done"

    async def test_pull_into_a_linked_snapshot_fails_and_overwrites_nothing(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str], elsewhere: Path
    ) -> None:
        assert (await pull(pulls)).state == "done"
        (snapshot,) = folder_of(environ).glob("snapshots/*")
        before = contents(elsewhere)
        shutil.rmtree(snapshot)
        snapshot.symlink_to(elsewhere)
        assert_refused(await pull(pulls), snapshot)
        assert contents(elsewhere) == before

    async def test_pull_into_a_linked_repository_succeeds(
        self, pulls: PullQueue, environ: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "disk").mkdir()
        folder_of(environ).parent.mkdir(parents=True)
        folder_of(environ).symlink_to(tmp_path / "disk")
        assert (await pull(pulls)).state == "done"
        assert "config.json" in visible(environ)


class TestOtherWriters:
    def test_prune_keeps_a_manifest_behind_a_link(self, tmp_path: Path, elsewhere: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/one", OLD, side=50)
        make_cached(tmp_path / "cache", "maker/one", NEW, side=60)
        (elsewhere / f"{OLD}.json").write_text("mine")
        (snapshot.parents[1] / ".lmx").symlink_to(elsewhere)
        before = contents(elsewhere)
        assert library_of(tmp_path).space.prune(dry_run=False).rows == ()
        assert contents(elsewhere) == before

    async def test_verify_writes_no_manifest_behind_a_link(
        self, pulls: PullQueue, environ: dict[str, str], tmp_path: Path, elsewhere: Path
    ) -> None:
        assert (await pull(pulls)).state == "done"
        (folder_of(environ) / ".lmx").rename(tmp_path / "own")
        (folder_of(environ) / ".lmx").symlink_to(elsewhere)
        before = contents(elsewhere)
        request = VerifyRequest(id=REPO, accept=True)
        last = [update async for update in library_of(tmp_path, environ).verifier.verify(request)][-1]
        assert last.error is not None and "is a link" in last.error.message
        assert contents(elsewhere) == before

    @pytest.mark.parametrize("part", [".lmx", "blobs"])
    def test_revision_is_not_restored_through_a_link(self, tmp_path: Path, elsewhere: Path, part: str) -> None:
        old = make_cached(tmp_path / "cache", "maker/one", OLD, side=50)
        library = library_of(tmp_path)
        model = library.registry.catalog.locate("maker/one")
        make_cached(tmp_path / "cache", "maker/one", NEW, side=60)
        assert library.space.retire(model)
        folder = old.parents[1] / part
        if folder.exists():
            folder.rename(tmp_path / "aside")
        folder.symlink_to(elsewhere)
        before = contents(elsewhere)
        with pytest.raises(DiskError, match="is a link"):
            library.undo("maker/one")
        assert contents(elsewhere) == before and len(library.trash.rows()) == 1
