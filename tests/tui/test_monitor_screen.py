"""The Monitor screen: figures of the snapshot, cancel, unload, window, pause."""

from collections.abc import Callable

from lmx_daemon.contract.types import RequestRow, Snapshot
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs import Confirm
from lmx_tui.widgets.requests import cursor_after
from lmx_tui.widgets.table import Table
from tests.fake_client import NOW, QWEN, FakeClient, busy_snapshot, quiet_snapshot
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


def with_states(**states: str) -> Snapshot:
    """Requests by name, the oldest first."""
    rows = [
        RequestRow(id=name, model=QWEN, state=state, started_at=NOW + number)  # type: ignore[arg-type]
        for number, (name, state) in enumerate(states.items())
    ]
    return busy_snapshot(requests=tuple(rows))


def test_the_cursor_is_not_carried_away_by_requests_that_ended() -> None:
    before = with_states(a="finished", b="decode", c="decode")
    after = with_states(a="finished", b="finished", c="decode", d="decode")
    assert cursor_after("b", before, after) == "b", "it ended: the latest that did"
    assert cursor_after("a", before, after) == "b", "it was on the latest that ended, and follows"
    assert cursor_after("c", before, after) is None, "one under way keeps it"
    later = with_states(a="finished", b="finished", c="finished", d="decode")
    assert cursor_after("a", after, later) is None, "an older one was chosen by hand"
    assert cursor_after("d", after, later) is None
    assert cursor_after(None, None, later) is None


async def test_the_list_of_requests_shows_those_under_way_while_others_end(make_app: Make, client: FakeClient) -> None:
    client.show(with_states(new0="decode"))
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        for number in range(1, 16):
            ended = {f"new{each}": "finished" for each in range(number)}
            client.show(with_states(**ended, **{f"new{number}": "decode"}))
            await until(pilot, lambda number=number: f"new{number}" in screen_text(pilot.app))
        assert pilot.app.screen.query_one("#requests-table", Table).selected == "new14"
