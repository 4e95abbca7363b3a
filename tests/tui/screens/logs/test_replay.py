"""The replay of a recorded request with another model."""

from collections.abc import Callable

from lmx_daemon.contract.generation.requests import Count, Text
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.questions import Pick
from lmx_tui.screens.logs.replay import ReplayDialog
from tests.fake_client import FakeClient
from tests.screen_states import QWEN
from tests.tui.conftest import running, screen_text, until

Make = Callable[..., LmxApp]
TO_OLDEST = ("f5", "2")
"""Keys from the first screen to the list of requests. Two steps down is the failed one, whose text is kept."""


async def test_a_recorded_request_is_sent_to_the_chosen_model(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press(*TO_OLDEST)
        await until(pilot, lambda: "2 Requests  3" in screen_text(app))
        await pilot.press("j", "j", "r")
        await until(pilot, lambda: isinstance(app.screen, Pick))
        assert "Replay with" in screen_text(app) and "odd[red]name" not in screen_text(app)
        await pilot.press("j", "enter")
        await until(pilot, lambda: "Hello from **lmx**." in screen_text(app))
        assert isinstance(app.screen, ReplayDialog)
        sent = client.requests_seen[-1]
        assert sent.prompt == Text(text="Once upon")
        assert sent.model != QWEN and sent.id.startswith("replay-") and sent.tenant == "tui"


async def test_a_request_without_text_names_the_setting_that_keeps_it(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press(*TO_OLDEST)
        await until(pilot, lambda: "2 Requests  3" in screen_text(app))
        await pilot.press("r")
        await until(pilot, lambda: "its text was not kept" in screen_text(app))
        assert "history.failed_requests" in screen_text(app)
        assert not client.requests_seen


async def test_closing_the_dialog_cancels_the_request(make_app: Make, client: FakeClient) -> None:
    client.hold_at = 3
    app = make_app()
    async with running(app) as pilot:
        await pilot.press(*TO_OLDEST)
        await until(pilot, lambda: "2 Requests  3" in screen_text(app))
        await pilot.press("j", "j", "r")
        await until(pilot, lambda: isinstance(app.screen, Pick))
        await pilot.press("enter")
        await until(pilot, lambda: "Hel" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: ("cancel", client.requests_seen[-1].id) in client.calls)


async def test_a_count_is_not_replayed(make_app: Make, client: FakeClient) -> None:
    client.recorded = Count(id="c1", model=QWEN, prompt=Text(text="x"))
    app = make_app()
    async with running(app) as pilot:
        await pilot.press(*TO_OLDEST)
        await until(pilot, lambda: "2 Requests  3" in screen_text(app))
        await pilot.press("j", "j", "r")
        await until(pilot, lambda: isinstance(app.screen, Pick))
        await pilot.press("enter")
        await until(pilot, lambda: "generates nothing" in screen_text(app))
