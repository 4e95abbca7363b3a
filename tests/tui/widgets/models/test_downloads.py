"""Pulls on the Models screen: request, progress and end."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import ErrorBody
from lmx_tui.app import LmxApp
from lmx_tui.screens.models.hub import HubDialog
from lmx_tui.screens.models.pull_sheet import PullSheet
from lmx_tui.widgets.models.downloads import in_order, pull_words
from tests.fake_client import FakeClient
from tests.screen_states import GB, busy_snapshot
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_pull_dialog_asks_for_the_repository(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("p")
        await settled(pilot)
        assert isinstance(pilot.app.screen, HubDialog)
        await pilot.press(*"a/b", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, PullSheet))
        await pilot.press("enter")
        await until(pilot, lambda: ("pull", "a/b") in client.calls)


async def test_downloads_show_progress_and_failure(make_app: Make) -> None:
    async with running(make_app(), (120, 40)) as pilot:
        text = screen_text(pilot.app)
        assert "gpt-oss-120b-MXFP4" in text and "38%" in text
        assert "the Hub answered 401 [gated]" in text


async def test_end_of_a_pull_is_reported_once(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        assert "is here" not in screen_text(pilot.app)
        done = [msgspec.structs.replace(pull, state="done") for pull in busy_snapshot().downloads]
        client.change(downloads=tuple(done))
        await until(pilot, lambda: "gpt-oss-120b-MXFP4 is here" in screen_text(pilot.app))
        assert "GLM-4.5-Air-4bit is here" not in screen_text(pilot.app), "it ended before the first snapshot"
        failed = Download(id="new", repo="a/b", state="failed", error=ErrorBody(code="x", message="no such repository"))
        client.change(downloads=(*done, failed))
        await until(pilot, lambda: "a/b: no such repository" in screen_text(pilot.app))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "queued", "position": 0}, "queued, next"),
        ({"state": "queued", "position": 3}, "queued, 3 before it"),
        ({"state": "verifying", "checked": GB, "to_check": 4 * GB}, "verifying  ██░░░░░░░░  25%  1.0/4.0 GB"),
        ({"state": "retrying", "done": GB, "total": 2 * GB, "note": "again in 8 s"}, "50%  1.0/2.0 GB  again in 8 s"),
        ({"state": "paused", "done": GB, "total": 2 * GB}, "paused  █████░░░░░  50%  1.0/2.0 GB"),
    ],
)
def test_line_of_a_pull_fits_and_shows_its_state(changes: dict[str, Any], words: str) -> None:
    pull = Download(id="d", repo="a/b", **changes)
    assert pull_words(pull, 60).endswith(words)
    assert len(pull_words(pull, 24)) <= 24


def test_pulls_are_listed_in_queue_order() -> None:
    def pull(name: str, state: Any, position: int | None = None, at: float = 0.0) -> Download:
        return Download(id=name, repo=name, state=state, position=position, started_at=at)

    pulls = (
        pull("done", "done", at=9.0),
        pull("second", "queued", 1),
        pull("paused", "paused", at=8.0),
        pull("first", "queued", 0),
        pull("running", "downloading"),
    )
    assert [one.id for one in in_order(pulls)] == ["running", "first", "second", "done", "paused"]
