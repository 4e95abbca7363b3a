"""Rows, notes and the cursor of the request table."""

from lmx_tui.widgets.monitor.requests import cursor_after
from tests.screen_states import with_requests


def test_cursor_follows_the_latest_ended_request() -> None:
    before = with_requests(a="finished", b="decode", c="decode")
    after = with_requests(a="finished", b="finished", c="decode", d="decode")
    assert cursor_after("b", before, after) == "b", "the selected request ended: its row is the latest ended one"
    assert cursor_after("a", before, after) == "b", "the cursor was on the latest ended request, and follows"
    assert cursor_after("c", before, after) is None, "an active request keeps the cursor"
    later = with_requests(a="finished", b="finished", c="finished", d="decode")
    assert cursor_after("a", after, later) is None, "an older request was chosen by hand"
    assert cursor_after("d", after, later) is None
    assert cursor_after(None, None, later) is None
