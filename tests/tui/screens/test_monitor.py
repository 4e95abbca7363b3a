"""The Monitor screen: figures of the snapshot, cancel, unload, time window, pause."""

from collections.abc import Callable

import msgspec

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.models import Instance
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs import Confirm
from lmx_tui.widgets.frame.table import Table
from tests.fake_client import FakeClient
from tests.screen_states import NOW, QWEN, quiet_snapshot, with_requests
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


async def test_absolute_figures_and_requests_are_shown(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert "26.5 / 96.0 GB" in text and "cap 96.0 GB" in text and "now 142.8" in text
        assert "prefill 41%" in text and "queued #1" in text and "python-openai 3.1" in text
        assert "running 3 · queued 1" in text
        assert "⣿" in text, "the graph is drawn"


async def test_unknown_figures_are_dashes(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert "now -" in text and "p50 -" in text and "TTFT -" in text


async def test_selected_request_shows_cached_share_and_miss_reason(make_app: Make) -> None:
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        note = "12% cached* · a time or date in the prompt changed, at token 2,214"
        assert note in screen_text(pilot.app)
        await pilot.press("j")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert note not in text and " 93% cached ─╯" in text
        await pilot.press("space")
        await settled(pilot)
        assert "paused, space resumes · 93% cached ─╯" in screen_text(pilot.app)


async def test_request_that_waits_for_a_load_shows_its_stage(make_app: Make, client: FakeClient) -> None:
    row = RequestRow(id="r", model=QWEN, state="loading", started_at=NOW, progress=0.4)
    loading = Instance(id="i", model=QWEN, state="loading", stage="weights", progress=0.41)
    client.change(requests=(row,), instances=(loading,))
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        lines = screen_text(pilot.app).splitlines()
        assert sum("weights 41%" in line for line in lines) == 2, "the same text as in the model's row"
        assert any("loading 41%, weights ─╯" in line for line in lines), "the subtitle describes the selected request"
        assert "running 0 · queued 1" in screen_text(pilot.app), "the count of the top bar"
        client.change(instances=(msgspec.structs.replace(loading, state="ready"),))
        await until(pilot, lambda: "loading 40%" in screen_text(pilot.app))


async def test_cancel_is_sent_to_the_daemon(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        await pilot.press("j", "c")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("cancel", "tui-r81")]


async def test_ended_request_is_not_cancelled(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        await pilot.press("G", "c")
        await settled(pilot)
        assert not client.calls


async def test_unload_of_a_busy_model_asks_first(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        await pilot.press("tab", "x")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Confirm)


async def test_keys_change_the_window_and_pause(make_app: Make, client: FakeClient) -> None:
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


async def test_active_requests_stay_visible_while_others_end(make_app: Make, client: FakeClient) -> None:
    client.show(with_requests(new0="decode"))
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        for number in range(1, 16):
            ended = {f"new{each}": "finished" for each in range(number)}
            client.show(with_requests(**ended, **{f"new{number}": "decode"}))
            await until(pilot, lambda number=number: f"new{number}" in screen_text(pilot.app))
        assert pilot.app.screen.query_one("#requests-table", Table).selected == "new14"
