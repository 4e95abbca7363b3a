"""Models on a disk that is not mounted: they stay listed with that problem, and nothing is written in their place."""

import json
import shutil
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import DiskError
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.known_disks import KnownDisks
from lmx_daemon.library.catalog.roots import ModelRoot
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.repositories import make_cached


class TestUnmountedDisk:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Path:
        """Return the place of a disk with one model in the folder `hub`."""
        make_cached(tmp_path / "disk" / "hub", "maker/one")
        return tmp_path / "disk"

    @staticmethod
    def catalog(disk: Path, mounts: set[str]) -> Catalog:
        disks = KnownDisks(disk.parent / "disks.json", disk.parent / "home", lambda path: path in {*mounts, "/"})
        return Catalog({}, [ModelRoot("hub", disk / "hub")], disks=disks)

    @pytest.mark.parametrize("place_stays", [True, False])
    def test_models_are_listed_with_the_problem_and_return_with_the_disk(self, disk: Path, place_stays: bool) -> None:
        mounts = {str(disk)}
        (found,) = [each for each in self.catalog(disk, mounts).refresh() if each.source == "hub"]
        assert found.problem is None
        disk.rename(disk.parent / "unplugged")
        if place_stays:
            disk.mkdir()
        mounts.clear()
        catalog = self.catalog(disk, mounts)  # also after a restart of the daemon
        for _ in range(2):
            (model,) = [each for each in catalog.refresh() if each.source == "hub"]
            assert (model.id, model.size) == ("maker/one", found.size)
            assert model.problem == f"disk not mounted: {disk}"
        shutil.rmtree(disk, ignore_errors=True)
        (disk.parent / "unplugged").rename(disk)
        mounts.add(str(disk))
        (back,) = [each for each in catalog.refresh() if each.source == "hub"]
        assert back == found

    def test_removed_models_of_a_mounted_disk_are_not_listed(self, disk: Path) -> None:
        catalog = self.catalog(disk, {str(disk)})
        catalog.refresh()
        shutil.rmtree(disk / "hub")
        assert [each for each in catalog.refresh() if each.source == "hub"] == []
        assert json.loads((disk.parent / "disks.json").read_text()) == {}

    def test_folder_beside_the_home_is_no_other_disk(self, disk: Path) -> None:
        self.catalog(disk, {str(disk.parent)}).refresh()
        assert not (disk.parent / "disks.json").exists()

    async def test_pull_is_refused_and_makes_no_folder_in_the_place_of_the_disk(self, disk: Path) -> None:
        mounts = {str(disk)}
        self.catalog(disk, mounts).refresh()
        shutil.rmtree(disk)
        disks = KnownDisks(disk.parent / "disks.json", disk.parent / "home", lambda path: path == "/")
        environ = {"HF_HUB_CACHE": str(disk / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
        pulls = PullQueue(
            LibrarySettings,
            environ,
            disk.parent / "records",
            check_disk=lambda: disks.refuse_absent(disk / "hub"),
        )
        job = await pulls.start(PullRequest(repo="maker/two"))
        async for last in pulls.watch(job.id):
            job = last
        await pulls.close()
        assert job.state == "failed" and job.error is not None
        assert job.error.message == f"disk not mounted: {disk}" and not disk.exists()
        with pytest.raises(DiskError, match="disk not mounted"):
            disks.refuse_absent(disk / "hub" / "models--maker--one")
