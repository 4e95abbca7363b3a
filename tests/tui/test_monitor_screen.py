"""The Monitor screen: figures of the snapshot, cancel, unload, window, pause."""

from collections.abc import Callable

from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs import Confirm
from tests.fake_client import FakeClient, quiet_snapshot
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_shows_absolute_numbers_and_requests(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert "26.5 / 96.0 GB" in text and "cap 96.0 GB" in text and "now 142.8" in text
        assert "prefill 41%" in text and "queued #1" in text and "python-openai 3.1" in text
        assert "running 3 · queued 1" in text
        assert "⣿" in text, "the graph is drawn"


async def test_what_is_not_known_is_a_dash(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert "now -" in text and "p50 -" in text and "TTFT -" in text


async def test_cancel_asks_the_daemon(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        await pilot.press("j", "c")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("cancel", "tui-r81")]


async def test_an_ended_request_is_not_cancelled(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        await pilot.press("G", "c")
        await settled(pilot)
        assert not client.calls


async def test_unload_of_a_busy_model_asks(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        await pilot.press("tab", "x")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Confirm)


async def test_window_and_pause(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4", "w")
        await settled(pilot)
        assert "96.0 GB · 2m" in screen_text(pilot.app)
        await pilot.press("space")
        client.change(instances=())
        await settled(pilot)
        assert "paused" in screen_text(pilot.app) and "In memory  2" in screen_text(pilot.app)
        await pilot.press("space")
        await settled(pilot)
        assert "In memory  0" in screen_text(pilot.app)
