"""The commands of the palette."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets import Input

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_tui.app import LmxApp
from lmx_tui.messages import PullChangeRequested
from lmx_tui.palette import pull_commands
from lmx_tui.screens.models.load_sheet import LoadSheet
from tests.fake_client import FakeClient
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_palette_opens_the_load_sheet_as_the_key_does(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("ctrl+p")
        await settled(pilot)
        pilot.app.screen.query_one(Input).value = "load lmx/guide"
        await until(pilot, lambda: "Load lmx/guide" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LoadSheet))
        assert not client.calls, "nothing is loaded before the plan was shown"
        await pilot.press("enter")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("load", "lmx/guide")]


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("downloading", ["pause", "cancel"]),
        ("queued", ["pause", "cancel"]),
        ("paused", ["resume", "cancel"]),
        ("failed", ["resume", "cancel"]),
        ("done", []),
    ],
)
def test_palette_offers_the_commands_that_a_pull_allows(state: Any, offered: list[str]) -> None:
    found = [title.rpartition(" ")[2] for title, _, _ in pull_commands(Download(id="d", repo="a/b", state=state))]
    assert found == offered


async def test_first_command_of_the_palette_changes_nothing(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "Chat with lmx/guide" in screen_text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        await settled(pilot)
        assert not client.calls


async def test_palette_pauses_resumes_and_cancels_a_pull(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        for verb in ("pause", "resume", "cancel"):
            pilot.app.post_message(PullChangeRequested(verb, "d1"))
        await until(pilot, lambda: len(client.calls) == 3)
        assert client.calls == [("pause_pull", "d1"), ("resume_pull", "d1"), ("cancel_pull", "d1")]
