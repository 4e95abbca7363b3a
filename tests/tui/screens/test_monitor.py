"""The Monitor screen: figures of the snapshot, cancel, unload, time window, pause."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lmx_daemon.contract.admin.snapshot import RequestRow, Series
from lmx_daemon.contract.models import Instance
from lmx_daemon.settings.paths import Home
from lmx_tui.app import LmxApp
from lmx_tui.choices import ChoicesFile
from lmx_tui.screens.dialogs.questions import Confirm
from lmx_tui.screens.logs.inspector import InspectorDialog, RowDialog
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.monitor.axis import Mark, axis, marks_of
from lmx_tui.widgets.monitor.panes import answer_rates, memory_top
from lmx_tui.widgets.monitor.past import decode_series, prefill_series
from lmx_tui.widgets.monitor.requests import memory_parts
from tests.fake_client import FakeClient
from tests.log_states import RECORDS
from tests.screen_states import INSTANCES, NOW, QWEN, REQUESTS, busy_snapshot, quiet_snapshot, with_requests
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


async def test_memory_by_kind_is_shown_where_the_pane_is_high_enough(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: "█ weights 4.6" in screen_text(pilot.app))
        assert "▒ keys and values 0.4" in screen_text(pilot.app) and "░ prefix cache 1.0" in screen_text(pilot.app)
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: "now 142.8" in screen_text(pilot.app))
        assert "keys and values" not in screen_text(pilot.app)


async def test_speeds_of_the_pane_are_the_decode_rates_of_answers(make_app: Make, client: FakeClient) -> None:
    """A short answer between idle seconds has the same rate in the pane, in the table and below the answer."""
    short = msgspec.structs.replace(REQUESTS[-1], completion_tokens=75, rate=249.0)
    client.change(requests=(short,), series=Series(decode=(0.0,) * 58 + (18.5, 18.5)), instances=())
    async with running(make_app()) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: "p50 249.0  max 249.0" in screen_text(pilot.app))


def test_a_request_in_prefill_has_no_decode_rate() -> None:
    assert answer_rates(REQUESTS) == [71.4, 71.4, 70.2]
    assert answer_rates(RECORDS) == [RECORDS[1].rate, RECORDS[2].rate]


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


async def test_panes_are_toggled_by_number_and_kept(make_app: Make, tmp_path: Path) -> None:
    home = Home(tmp_path)
    app = make_app(home=home)
    async with running(app) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: "1 Memory" in screen_text(app) and "3 Prefill" in screen_text(app))
        await pilot.press("1", "6")
        await until(pilot, lambda: "1 Memory" not in screen_text(app) and "6 In memory" not in screen_text(app))
        assert "hidden: 1 6" in screen_text(app)
        await until(pilot, lambda: ChoicesFile(home.choices).read().monitor_hidden == ("instances", "memory"))
    again = make_app(home=home)
    async with running(again) as pilot:
        await until(pilot, lambda: "2 Tokens a second" in screen_text(again))
        assert "1 Memory" not in screen_text(again)
        await pilot.press("1")
        await until(pilot, lambda: "1 Memory" in screen_text(again))


async def test_wide_monitor_shows_the_machine(make_app: Make) -> None:
    app = make_app()
    async with running(app, (200, 60)) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: "4 Machine" in screen_text(app))
        assert "CPU " in screen_text(app) and "cache hit" in screen_text(app)
        assert "weights" in screen_text(app) and "kv" in screen_text(app)


async def test_ended_requests_stay_after_they_left_the_snapshot(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f4")
        await until(pilot, lambda: "chat-r80" in screen_text(app))
        client.change(requests=tuple(row for row in REQUESTS if row.id != "chat-r80"))
        await until(pilot, lambda: len(app.view.snapshot.requests) == len(REQUESTS) - 1)  # type: ignore[union-attr]
        assert "chat-r80" in screen_text(app)


async def test_details_of_a_request(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f4", "enter")
        await until(pilot, lambda: isinstance(app.screen, RowDialog))
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await pilot.press("G", "enter")
        await until(pilot, lambda: isinstance(app.screen, InspectorDialog))
        assert ("record", "chat-r80") in client.calls
        assert "decode 4.43 s" in screen_text(app)


async def test_long_windows_are_drawn_from_the_history(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f4", "w", "w", "w")
        await until(pilot, lambda: client.histories)
        assert client.histories == [{"limit": 10_000, "days": 3600 / 86_400}]
        await until(pilot, lambda: "· 1h" in screen_text(app))
        assert "TTFT p50" in screen_text(app)


def test_series_of_records_have_their_tokens() -> None:
    found = decode_series(RECORDS, NOW, 3600)
    unit = 3600 / len(found)
    assert sum(found) * unit == pytest.approx(311 + 103)
    assert decode_series([], NOW, 3600) == (0.0,) * len(found)
    prefill = prefill_series(RECORDS, NOW, 3600)
    assert sum(prefill) * unit == pytest.approx(20 + 18_400 - 2208)


def test_marks_have_labels_where_there_is_room() -> None:
    colors: dict[str, str] = defaultdict(lambda: "red")
    marks = [Mark(NOW - 50, "+", "Qwen3-8B", "success"), Mark(NOW - 5, "!", "crashed", "error")]
    assert axis(marks, NOW, 60, 60, colors).plain == " " * 10 + "+ Qwen3-8B" + " " * 35 + "!"
    assert axis([], NOW, 60, 60, colors).plain == ""
    assert marks_of(busy_snapshot(), 300)[-1].sign == "!"


def test_memory_graph_is_scaled_to_what_is_used() -> None:
    assert memory_top((26 * 10**9,), 26 * 10**9, 96 * 10**9) == 30 * 10**9
    assert memory_top((), 500 * 10**6, 96 * 10**9) == 1000 * 10**6
    assert memory_top((95 * 10**9,), 0, 96 * 10**9) == 96 * 10**9, "not above the cap"
    assert memory_top((), 0, 0) >= 1


def test_parts_of_a_models_memory_add_up() -> None:
    parts = memory_parts(INSTANCES[0])
    assert sum(parts.values()) == INSTANCES[0].held
    assert parts["weights"] == 46 * 10**8
