"""MonitorScreen: memory and speed over time, requests, loaded models, incidents. Draws snapshots and posts requests."""

from collections.abc import Mapping

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import DataTable

from lmx_daemon.contract.admin.snapshot import SERIES_SECONDS, Snapshot
from lmx_tui import keys
from lmx_tui.choices import Choices
from lmx_tui.messages import CancelRequested, ChoiceMade, Notified, UnloadRequested
from lmx_tui.screens.incidents import IncidentsDialog
from lmx_tui.screens.models import ask_unload
from lmx_tui.screens.page import Page
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models.model_rows import instances_of
from lmx_tui.widgets.monitor.incidents_pane import IncidentsPane
from lmx_tui.widgets.monitor.panes import MemoryPane, RatePane
from lmx_tui.widgets.monitor.requests import (
    ENDED,
    INSTANCE_COLUMNS,
    REQUEST_COLUMNS,
    cursor_after,
    instance_rows,
    request_note,
    request_rows,
)

WINDOWS = (60, 120, SERIES_SECONDS)
"""Time spans of the graphs in seconds, in the order in which a key selects them."""


class MonitorScreen(Page):
    """The Monitor screen."""

    BINDINGS = keys.MONITOR
    AUTO_FOCUS = "#requests-table"
    mode = "monitor"

    def __init__(self, symbols: str, choices: Choices) -> None:
        super().__init__()
        self._symbols = symbols
        self._window = choices.monitor_window if choices.monitor_window in WINDOWS else WINDOWS[0]
        self._paused_at: Snapshot | None = None
        """Snapshot that is shown while the display is paused."""
        self._drawn: Snapshot | None = None
        self._has_incidents = False

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="graphs"):
            yield MemoryPane(self._symbols)
            yield RatePane(self._symbols)
        with Pane("Requests", id="requests", classes="live"):
            yield Table(REQUEST_COLUMNS, id="requests-table")
        with Pane("In memory", id="instances", classes="live"):
            yield Table(INSTANCE_COLUMNS, id="instances-table")
        yield IncidentsPane()

    def show(self, snapshot: Snapshot) -> None:
        snapshot = self._paused_at or snapshot
        self.query_one(MemoryPane).show(snapshot, self._window)
        self.query_one(RatePane).show(snapshot, self._window)
        colors = self.app.theme_variables
        self._show_requests(snapshot, colors)
        self.query_one("#instances-table", Table).show(instance_rows(snapshot, colors))
        self.query_one("#requests-table", Table).set_empty_text(
            f"no requests lately; clients use {snapshot.status.address}/v1"
        )
        self.query_one("#instances-table", Table).set_empty_text(
            "none; a model is loaded by its first request, or in Models"
        )
        self.query_one(IncidentsPane).show(snapshot)
        if bool(snapshot.status.incidents) != self._has_incidents:
            self._has_incidents = not self._has_incidents
            self.refresh_bindings()
        self._title_requests()
        self.query_one("#instances", Pane).titled(f"In memory  {len(snapshot.instances)}")

    def _show_requests(self, snapshot: Snapshot, colors: Mapping[str, str]) -> None:
        table = self.query_one("#requests-table", Table)
        cursor = cursor_after(table.selected, self._drawn, snapshot)
        table.show(request_rows(snapshot, colors))
        if cursor is not None:
            table.select(cursor)
        self._drawn = snapshot

    @on(DataTable.RowHighlighted, "#requests-table")
    def _title_requests(self) -> None:
        """Update the title with the request counts, and the subtitle with a note about the selected request."""
        if self._drawn is None:
            return
        requests, key = self._drawn.requests, self._selected("requests")
        queued = sum(row.state in ("queued", "loading") for row in requests)
        running = sum(row.state not in ENDED for row in requests) - queued
        row = next((row for row in requests if row.id == key), None)
        note = request_note(row, instances_of(self._drawn).get(row.model) if row is not None else None)
        notes = filter(None, ("paused, space resumes" if self._paused_at else "", note))
        pane = self.query_one("#requests", Pane)
        pane.titled(f"Requests  running {running} · queued {queued}", " · ".join(notes))

    # ---- verbs ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "incidents" and not self._has_incidents:
            return False
        return super().check_action(action, parameters)

    def _selected(self, table: str) -> str | None:
        return self.query_one(f"#{table}-table", Table).selected

    def action_cancel(self) -> None:
        key = self._selected("requests")
        row = next((row for row in (self.snapshot.requests if self.snapshot else ()) if row.id == key), None)
        if row is None or row.state in ENDED:
            self.post_message(Notified("no running request is selected"))
        else:
            self.post_message(CancelRequested(row.id))

    def action_unload(self) -> None:
        """Unload the selected model, or the model of the selected request."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        if self.query_one("#instances-table").has_focus or not self._selected("requests"):
            key = self._selected("instances")
            instance = next((one for one in snapshot.instances if one.id == key), None)
        else:
            key = self._selected("requests")
            model = next((row.model for row in snapshot.requests if row.id == key), "")
            instance = instances_of(snapshot).get(model)
        if instance is None:
            self.post_message(Notified("no model in memory is selected"))
            return
        ask_unload(self, UnloadRequested(instance.id, instance.model), instance.running + instance.waiting)

    def action_window(self) -> None:
        self._window = WINDOWS[(WINDOWS.index(self._window) + 1) % len(WINDOWS)]
        self.post_message(ChoiceMade({"monitor_window": self._window}))
        self._redraw()

    def action_pause(self) -> None:
        self._paused_at = None if self._paused_at else self.snapshot
        self._redraw()

    def action_incidents(self) -> None:
        if self.snapshot is not None:
            self.app.push_screen(IncidentsDialog(self.snapshot))

    def _redraw(self) -> None:
        if self.snapshot is not None:
            self.show(self.snapshot)
