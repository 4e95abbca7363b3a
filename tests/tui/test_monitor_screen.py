"""The Monitor screen: figures of the snapshot, cancel, unload, window, pause."""

from collections.abc import Callable
from typing import Any

import msgspec

from lmx_daemon.contract.errors import OutOfMemoryError
from lmx_daemon.contract.types import Incident, Instance, RequestRow, Snapshot
from lmx_tui.app import LmxApp
from lmx_tui.notices import notices
from lmx_tui.screens.dialogs import Confirm
from lmx_tui.screens.incidents import IncidentsDialog
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.monitor.requests import cursor_after
from tests.fake_client import NOW, QWEN, FakeClient, busy_snapshot, quiet_snapshot, status
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


async def test_the_selected_request_tells_what_was_cached_and_why_not_more(make_app: Make) -> None:
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
        assert "paused, space goes on · 93% cached ─╯" in screen_text(pilot.app)


async def test_a_request_that_waits_for_a_load_tells_its_stage(make_app: Make, client: FakeClient) -> None:
    row = RequestRow(id="r", model=QWEN, state="loading", started_at=NOW, progress=0.4)
    loading = Instance(id="i", model=QWEN, state="loading", stage="weights", progress=0.41)
    client.change(requests=(row,), instances=(loading,))
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        lines = screen_text(pilot.app).splitlines()
        assert sum("weights 41%" in line for line in lines) == 2, "as in the model's own row"
        assert any("loading 41%, weights ─╯" in line for line in lines), "and in words for the selected one"
        assert "running 0 · queued 1" in screen_text(pilot.app), "as the top bar counts it"
        client.change(instances=(msgspec.structs.replace(loading, state="ready"),))
        await until(pilot, lambda: "loading 40%" in screen_text(pilot.app))


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


def crash(
    model: str = QWEN, at: float = NOW, kind: Any = "crashed", message: str = "the process ended [1]"
) -> Incident:
    return Incident(at=at, kind=kind, model=model, message=message)


async def test_incidents_are_listed_with_their_age_the_newest_first(make_app: Make) -> None:
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert "Incidents  3" in text and "i Incidents" in text
        rows = [line for line in text.splitlines() if "gemma-3" in line]
        assert "!  3m" in rows[0] and "does not fit" in rows[0] and rows[0].rstrip(" │").endswith("…")
        assert "· 26m" in rows[1] and "unloaded to make room" in rows[1]


async def test_all_incidents_in_full(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4", "i")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert isinstance(pilot.app.screen, IncidentsDialog)
        assert "crashed, 2 hours ago" in text and "79.2 GB" in text, "nothing is cut"
        await pilot.press("escape")
        await settled(pilot)
        assert not isinstance(pilot.app.screen, IncidentsDialog)


async def test_without_incidents_there_is_no_pane_and_no_key(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await pilot.press("f4", "i")
        await settled(pilot)
        assert "Incidents" not in screen_text(pilot.app)
        client.change(status=status(incidents=(crash(at=NOW - 90_000),)))
        await until(pilot, lambda: "i Incidents" in screen_text(pilot.app))
        assert not pilot.app.screen.query_one("#incidents").display, "what is old is in the dialog only"


async def test_a_new_incident_is_said_once_on_any_screen(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        assert "crashed" not in screen_text(pilot.app), "what had happened before is no news"
        known = busy_snapshot().status.incidents
        client.change(status=status(incidents=(*known, crash())))
        await until(pilot, lambda: "Qwen3-8B-4bit crashed: the process ended [1]" in screen_text(pilot.app))
        client.change(status=status(incidents=(*known, crash())), taken_at=NOW + 1)
        await settled(pilot)
        assert len(pilot.app._notifications) == 1


async def test_a_failed_load_of_ones_own_is_not_said_twice(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    client.error = OutOfMemoryError("lmx/guide does not fit", hint="unload others")
    async with running(make_app()) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: "lmx/guide does not fit" in screen_text(pilot.app))
        failed = crash("lmx/guide", kind="load failed", message="lmx/guide does not fit")
        client.change(status=status(incidents=(failed,)))
        await until(pilot, lambda: pilot.app.view.snapshot.status.incidents)
        assert len(pilot.app._notifications) == 1


def test_news_of_incidents() -> None:
    before, undone = quiet_snapshot(), crash(kind="undone", message="too big")
    failed = crash(kind="load failed", message="too big", at=NOW + 1)
    other = crash("a/b", kind="evicted", message="unloaded to make room for c")

    def with_incidents(*incidents: Incident) -> Snapshot:
        return msgspec.structs.replace(before, status=status(incidents=incidents))

    told = list(notices(before, with_incidents(undone, failed, other), ()))
    assert [(one.text, one.severity) for one in told] == [
        ("Qwen3-8B-4bit undone: too big", "error"),
        ("b evicted: unloaded to make room for c", "information"),
    ]
    many = with_incidents(*(crash(f"a/{number}") for number in range(9)))
    assert [one.text for one in notices(before, many, ())] == ["9 incidents with models"]
    assert not list(notices(None, many, ())) and not list(notices(many, many, ()))
    assert not list(notices(before, with_incidents(other), [other.message]))
