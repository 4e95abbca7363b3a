"""The Logs screen: following, filters, copying, and the inspector of a request."""

from collections import defaultdict
from collections.abc import Callable

import msgspec
import pytest

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import LogLine
from lmx_tui.app import LmxApp
from lmx_tui.screens.logs.inspector import InspectorDialog, LineDialog
from lmx_tui.widgets.logs.inspection import cells, inspection, stages
from lmx_tui.widgets.logs.log_lines import LogCriteria, shown_lines
from lmx_tui.widgets.logs.log_view import DROPPED, MAX_LINES, LogView
from tests.fake_client import FakeClient
from tests.log_states import LOG, RECORDS
from tests.screen_states import NOW
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


def line(message: str, level: str = "info") -> LogLine:
    return LogLine(at=NOW, level=level, source="http", message=message)


async def test_log_follows_new_lines_until_the_reader_moves(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app, (100, 20)) as pilot:
        await pilot.press("f5")
        await until(pilot, lambda: "93 % cached" in screen_text(app))
        client.write_log(*(line(f"event {number}") for number in range(50)))
        await until(pilot, lambda: "event 49" in screen_text(app))
        await pilot.press("home")
        await until(pilot, lambda: "answers at" in screen_text(app))
        client.write_log(line("a later event"))
        view = app.screen.query_one(LogView)
        await until(pilot, lambda: view.counts[1] == len(LOG) + 51)
        assert "a later event" not in screen_text(app), "the reader keeps the place"
        await pilot.press("G")
        await until(pilot, lambda: "a later event" in screen_text(app))
        assert view.following


async def test_log_is_filtered_by_level_and_expression(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f5")
        await until(pilot, lambda: "93 % cached" in screen_text(app))
        assert "GET /v1/models" not in screen_text(app), "debug lines are hidden"
        await pilot.press("l", "l")
        await until(pilot, lambda: "level error" in screen_text(app))
        assert "93 % cached" not in screen_text(app)
        await pilot.press("l", "slash", *"POST.*200", "enter")
        await until(pilot, lambda: "filter: POST.*200" in screen_text(app))
        assert "20 + 311 tokens" in screen_text(app) and "93 % cached" not in screen_text(app)
        await pilot.press("m")
        await until(pilot, lambda: "93 % cached" in screen_text(app))
        view = app.screen.query_one(LogView)
        await pilot.press("n")
        await until(pilot, lambda: view.selected is not None and "20 + 311" in view.selected.message)
        await pilot.press("escape")
        await until(pilot, lambda: "find:" not in screen_text(app))
        assert app.current_mode == "logs"


async def test_line_is_shown_in_full_with_its_traceback(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f5")
        await until(pilot, lambda: "93 % cached" in screen_text(app))
        await pilot.press("k")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LineDialog))
        assert "GatedError: 401" in screen_text(app)


async def test_line_of_a_request_opens_the_request(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f5", "slash", *"311", "enter")
        await until(pilot, lambda: "filter: 311" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, InspectorDialog))
        assert "chat-r80" in screen_text(app) and "decode 4.43 s" in screen_text(app)


async def test_requests_show_their_timeline_and_are_exported(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f5", "2")
        await until(pilot, lambda: "2 Requests  3" in screen_text(app))
        await pilot.press("j")
        await until(pilot, lambda: "load 6.10 s" in screen_text(app))
        text = screen_text(app)
        assert "asked for auto" in text and "a time or date in the prompt changed, at token 2,214" in text
        await pilot.press("e")
        await until(pilot, lambda: ("export", "chat-r72") in client.calls)
        await pilot.press("slash", *"overflow", "enter")
        await until(pilot, lambda: "2 Requests  1 of 3" in screen_text(app))
        assert "the prompt has 48,210 tokens" in screen_text(app)


async def test_records_are_asked_for_again_when_a_request_ends(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f5", "2")
        await until(pilot, lambda: len(client.histories) == 1)
        client.change(taken_at=NOW + 1)
        await settled(pilot)
        assert len(client.histories) == 1
        rows = tuple(row for row in app.view.snapshot.requests)  # type: ignore[union-attr]
        client.change(requests=(*rows[1:], msgspec.structs.replace(rows[0], state="finished")))
        await until(pilot, lambda: len(client.histories) == 2)


async def test_hostile_lines_are_not_interpreted(make_app: Make, client: FakeClient) -> None:
    client.log = [line("[red]no markup[/red] \x1b[31mescape \u202eturned")]
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f5")
        await until(pilot, lambda: "[red]no markup[/red] ␛[31mescape" in screen_text(app))


@pytest.mark.parametrize("pattern", ["(", "[a-", "a{99999999999}", "*"])
def test_text_that_is_no_expression_stands_for_itself(pattern: str) -> None:
    found = shown_lines([line(f"x {pattern} y"), line("other")], LogCriteria(pattern=pattern))
    assert [one.message for one in found] == [f"x {pattern} y"]


async def test_log_is_bounded(make_app: Make) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("f5")
        await until(pilot, lambda: "93 % cached" in screen_text(app))
        view = app.screen.query_one(LogView)
        view.add([line(f"event {number}") for number in range(MAX_LINES)])
        await settled(pilot)
        assert view.counts[1] == MAX_LINES - DROPPED
        assert view.selected is not None and view.selected.message == f"event {MAX_LINES - 1}"


def test_stages_split_the_load_from_the_wait() -> None:
    found = stages(RECORDS[1])
    assert found == pytest.approx({"queue": 0.3, "load": 6.1, "prefill": 2.1, "decode": 3.3, "rest": 0.1})
    assert sum(cells(found, 60).values()) == 60
    assert all(number >= 1 for number in cells(found, 60).values())
    assert cells({}, 60) == {} and cells({"queue": 0.0}, 60) == {}


def test_record_without_figures_is_drawn() -> None:
    text = inspection(RequestRecord(id="x", at=NOW, model="m", outcome="cancelled"), defaultdict(lambda: "red"), 40)
    assert "cancelled" in text.plain and "total 0.00 s" in text.plain
