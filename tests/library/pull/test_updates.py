"""Updates of pulled models."""

from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.contract.errors import HubError, RequestError
from lmx_daemon.library.library import Library
from tests.library.conftest import REPO, StandIn
from tests.library.repositories import library_of, make_folder

BIG = 2_000_000_000


class TestUpdates:
    @pytest.fixture
    def library(self, environ: dict[str, str], tmp_path: Path) -> Library:
        return library_of(tmp_path, environ)

    async def pulled(self, library: Library) -> str:
        job = await library.pulls.start(PullRequest(repo=REPO))
        assert [update async for update in library.pulls.watch(job.id)][-1].state == "done"
        return str(library.registry.catalog.locate(REPO).revision)

    async def update(self, library: Library) -> Download:
        return [update async for update in library.updates.update(REPO)][-1]

    async def test_no_update_when_the_commit_is_current(self, library: Library, hub: StandIn) -> None:
        await self.pulled(library)
        assert [row.newer for row in library.updates.check(library.hub()).rows] == [None]
        assert library.registry.catalog.locate(REPO).newer is None

    async def test_update_fetches_changed_files_and_retires_the_old_revision(
        self, library: Library, hub: StandIn
    ) -> None:
        old = await self.pulled(library)
        (hub.root / REPO / "README.md").write_text("# tiny, and better")
        (row,) = library.updates.check(library.hub()).rows
        assert row.newer not in (None, old)
        assert library.registry.catalog.locate(REPO).newer == row.newer  # the badge
        hub.requests()
        assert (await self.update(library)).state == "done"
        fetched = [r["path"] for r in hub.requests() if "/resolve/" in r["path"]]
        assert len(fetched) == 1 and fetched[0].endswith("README.md")
        model = library.registry.catalog.locate(REPO)
        assert (model.revision, model.newer) == (row.newer, None)
        assert [r.commit for r in library.details(REPO).revisions] == [row.newer]

    async def test_old_revision_stays_when_the_update_fails(self, library: Library, hub: StandIn) -> None:
        old = await self.pulled(library)
        (hub.root / REPO / "model.safetensors").write_bytes(
            (hub.root / REPO / "model.safetensors").read_bytes()[:-1] + b"x"
        )
        hub.faults(corrupt_at=1000)
        failed = await self.update(library)
        assert failed.state == "failed"
        model = library.registry.catalog.locate(REPO)
        assert model.revision == old and library.registry.clear(model) is False

    async def test_loaded_revision_is_not_retired(
        self, library: Library, hub: StandIn, environ: dict[str, str], tmp_path: Path
    ) -> None:
        await self.pulled(library)
        path = library.registry.catalog.locate(REPO).path
        (hub.root / REPO / "README.md").write_text("# another")
        busy = library_of(tmp_path, environ, in_use=[path])
        assert (await self.update(busy)).state == "done"
        assert len(busy.details(REPO).revisions) == 2 and (Path(path) / "config.json").exists()

    async def test_model_from_elsewhere_is_not_updated(self, library: Library, tmp_path: Path) -> None:
        make_folder(tmp_path / "mine" / "one")
        with pytest.raises(RequestError):
            [update async for update in library.updates.update("local/one")]

    async def test_check_for_updates_reports_a_failing_hub(self, library: Library, hub: StandIn) -> None:
        await self.pulled(library)
        hub.faults(status=500, status_times=1000)
        with pytest.raises(HubError):
            library.updates.check(library.hub())

    async def test_check_for_updates_fails_when_the_hub_cannot_be_reached(self, library: Library) -> None:
        await self.pulled(library)
        with pytest.raises(HubError) as refused:
            library.updates.check(library.hub("http://127.0.0.1:9"))
        assert refused.value.hint is not None and "HF_ENDPOINT" in refused.value.hint

    async def test_model_missing_from_the_hub_is_not_a_network_error(self, library: Library, hub: StandIn) -> None:
        await self.pulled(library)
        hub.faults(status=404, status_times=1000)
        (row,) = library.updates.check(library.hub()).rows
        assert row.error is not None and "no longer on the Hub" in row.error
