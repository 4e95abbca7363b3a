"""Incidents in the Monitor screen, in their dialog and as toasts."""

from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import OutOfMemoryError
from lmx_daemon.contract.models import Incident
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.incidents import IncidentsDialog
from lmx_tui.screens.models.load_sheet import LoadSheet
from tests.fake_client import FakeClient
from tests.screen_states import NOW, QWEN, busy_snapshot, quiet_snapshot, status
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


def crash(
    model: str = QWEN, at: float = NOW, kind: Any = "crashed", message: str = "the process ended [1]"
) -> Incident:
    return Incident(at=at, kind=kind, model=model, message=message)


async def test_incidents_are_listed_newest_first_with_their_age(make_app: Make) -> None:
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("f4")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert "Incidents  3" in text and "i Incidents" in text
        rows = [line for line in text.splitlines() if "gemma-3" in line]
        assert "!  3m" in rows[0] and "does not fit" in rows[0] and rows[0].rstrip(" │").endswith("…")
        assert "· 26m" in rows[1] and "unloaded to make room" in rows[1]


async def test_dialog_shows_all_incidents_in_full(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("f4", "i")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert isinstance(pilot.app.screen, IncidentsDialog)
        assert "crashed, 2 hours ago" in text and "79.2 GB" in text, "nothing is cut"
        await pilot.press("escape")
        await settled(pilot)
        assert not isinstance(pilot.app.screen, IncidentsDialog)


async def test_pane_and_key_are_absent_without_incidents(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await pilot.press("f4", "i")
        await settled(pilot)
        assert "Incidents" not in screen_text(pilot.app)
        client.change(status=status(incidents=(crash(at=NOW - 90_000),)))
        await until(pilot, lambda: "i Incidents" in screen_text(pilot.app))
        assert not pilot.app.screen.query_one("#incidents").display, "old incidents are in the dialog only"


async def test_new_incident_is_reported_once_on_any_screen(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        assert "crashed" not in screen_text(pilot.app), "earlier incidents are not reported"
        known = busy_snapshot().status.incidents
        client.change(status=status(incidents=(*known, crash())))
        await until(pilot, lambda: "Qwen3-8B-4bit crashed: the process ended [1]" in screen_text(pilot.app))
        client.change(status=status(incidents=(*known, crash())), taken_at=NOW + 1)
        await settled(pilot)
        assert len(pilot.app._notifications) == 1


async def test_failed_load_of_this_app_is_not_reported_twice(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    client.error = OutOfMemoryError("lmx/guide does not fit", hint="unload others")
    async with running(make_app()) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LoadSheet))
        await pilot.press("enter")
        await until(pilot, lambda: "lmx/guide does not fit" in screen_text(pilot.app))
        failed = crash("lmx/guide", kind="load failed", message="lmx/guide does not fit")
        client.change(status=status(incidents=(failed,)))
        await until(pilot, lambda: pilot.app.view.snapshot.status.incidents)
        assert len(pilot.app._notifications) == 1
