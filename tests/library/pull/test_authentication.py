"""Tokens, gated repositories, and unknown or unreachable repositories."""

from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import pull


class TestAuthentication:
    async def test_token_is_sent_to_the_hub_only(
        self, pulls: PullQueue, hub: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        hub.faults(gated=True)
        with caplog.at_level("DEBUG", logger="lmx"):
            assert (await pull(pulls, token="hf_secret")).state == "done"
        asked = [r for r in hub.requests() if r["path"] != "/_faults"]
        assert all(r["auth"] for r in asked if not r["path"].startswith("/cdn/"))
        assert [r["path"] for r in asked if r["path"].startswith("/cdn/")]
        assert not any(r["auth"] for r in asked if r["path"].startswith("/cdn/"))
        written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        assert not any(b"hf_secret" in content for content in written) and "hf_secret" not in caplog.text
        assert "hf_secret" not in repr(PullRequest(repo=REPO, token="hf_secret"))

    async def test_token_of_the_environment_is_used(
        self, pulls: PullQueue, hub: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_other")
        hub.faults(token="hf_other", gated=True)
        assert (await pull(pulls)).state == "done"

    async def test_gated_repository_fails_with_a_hint(self, pulls: PullQueue, hub: StandIn) -> None:
        hub.faults(gated=True)
        failed = await pull(pulls)
        assert failed.error is not None and "lmx login" in (failed.error.hint or "")

    async def test_refused_token_is_reported(self, pulls: PullQueue, hub: StandIn) -> None:
        hub.faults(token="hf_good")
        failed = await pull(pulls, token="hf_bad")
        assert failed.error is not None and failed.error.code == "invalid_api_key"
        assert "token" in failed.error.message and "hf_bad" not in str(failed.error)

    async def test_unknown_repository_fails(self, pulls: PullQueue, hub: StandIn) -> None:
        failed = await pull(pulls, "maker/nothing")
        assert failed.error is not None and failed.error.code == "not_found"

    async def test_unknown_revision_fails(self, pulls: PullQueue, hub: StandIn) -> None:
        failed = await pull(pulls, revision="v9")
        assert failed.error is not None and "v9" in failed.error.message

    async def test_unreachable_hub_fails_within_seconds(self, environ: dict[str, str], tmp_path: Path) -> None:
        pulls = PullQueue(LibrarySettings, environ | {"HF_ENDPOINT": "http://127.0.0.1:9"}, tmp_path / "records")
        failed = await pull(pulls)
        assert failed.error is not None and failed.error.code == "hub_error" and failed.retries > 0
