"""MonitorScreen: memory and speed over time, requests, loaded models, incidents. Draws snapshots and posts requests."""

from collections.abc import Mapping

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import DataTable

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import SERIES_SECONDS, RequestRow, Snapshot
from lmx_daemon.contract.errors import ErrorBody
from lmx_tui import keys
from lmx_tui.choices import Choices
from lmx_tui.messages import CancelRequested, ChoiceMade, Notified, QueryRequested, UnloadRequested
from lmx_tui.screens.dialogs.incidents import IncidentsDialog
from lmx_tui.screens.logs.inspector import InspectorDialog, RowDialog
from lmx_tui.screens.models.model_verbs import ask_unload
from lmx_tui.screens.page import Page
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models.model_rows import instances_of
from lmx_tui.widgets.monitor.host_panes import HostPane, PrefillPane
from lmx_tui.widgets.monitor.incidents_pane import IncidentsPane
from lmx_tui.widgets.monitor.panes import GraphPane, MemoryPane, RatePane
from lmx_tui.widgets.monitor.requests import (
    ENDED,
    INSTANCE_COLUMNS,
    REQUEST_COLUMNS,
    cursor_after,
    instance_rows,
    keep_ended,
    request_note,
    request_rows,
    with_kept,
)

WINDOWS = (60, 120, SERIES_SECONDS, 3600, 86_400)
"""Time spans of the graphs in seconds, in the order in which a key selects them."""
RECORDS_SECONDS = 30.0
"""Interval at which the records of a long window are asked for."""
MAX_RECORDS = 10_000
PANES = {
    "memory": ("1", "MemoryPane"),
    "rate": ("2", "RatePane"),
    "prefill": ("3", "PrefillPane"),
    "machine": ("4", "HostPane"),
    "requests": ("5", "#requests"),
    "instances": ("6", "#instances"),
    "incidents": ("7", "#incidents"),
}
"""Name of a pane -> its key, its selector."""
GRAPHS = {"memory", "rate", "prefill", "machine"}


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
        self._kept: dict[str, RequestRow] = {}
        """Requests that have ended, by id."""
        self._records: list[RequestRecord] = []
        """Requests of a window that is longer than the samples of a snapshot."""
        self._asked_at = 0.0
        self._hidden = set(choices.monitor_hidden) & PANES.keys()
        self._has_incidents = False

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="graphs"):
            yield MemoryPane(self._symbols, kinds=True)
            yield RatePane(self._symbols)
            yield PrefillPane(self._symbols)
            yield HostPane(self._symbols)
        with Pane("Requests", id="requests", classes="live"):
            yield Table(REQUEST_COLUMNS, id="requests-table")
        with Pane("In memory", id="instances", classes="live"):
            yield Table(INSTANCE_COLUMNS, id="instances-table")
        yield IncidentsPane()

    def show(self, snapshot: Snapshot) -> None:
        snapshot = self._paused_at or snapshot
        self._kept = keep_ended(self._kept, snapshot)
        snapshot = with_kept(snapshot, self._kept)
        self._ask_records(snapshot)
        for pane in self.query(GraphPane):
            if pane.display:
                pane.show(snapshot, self._window, self._records if self._window > SERIES_SECONDS else ())
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
        self.query_one("#instances", Pane).titled(f"6 In memory  {len(snapshot.instances)}")

    def _ask_records(self, snapshot: Snapshot) -> None:
        """Ask for the records of a long window from time to time."""
        if self._window <= SERIES_SECONDS or abs(snapshot.taken_at - self._asked_at) < RECORDS_SECONDS:
            return
        self._asked_at = snapshot.taken_at
        days = self._window / 86_400

        def came(records: list[RequestRecord]) -> None:
            self._records = records
            self._redraw()

        ask = QueryRequested("past", lambda client: client.history(limit=MAX_RECORDS, days=days), came)
        self.post_message(ask)

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
        hidden = " ".join(PANES[name][0] for name in sorted(self._hidden, key=lambda name: PANES[name][0]))
        words = (f"hidden: {hidden}" if hidden else "", "paused, space resumes" if self._paused_at else "")
        notes = filter(None, (*words, note))
        pane = self.query_one("#requests", Pane)
        pane.titled(f"5 Requests  running {running} · queued {queued}", " · ".join(notes))

    # ---- verbs ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "incidents" and not self._has_incidents:
            return False
        if action == "details" and not self.view.online:
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

    def on_mount(self) -> None:
        self._show_panes()

    def action_pane(self, name: str) -> None:
        """Show or hide a pane, except the requests while they have the focus."""
        self._hidden ^= {name}
        self.post_message(ChoiceMade({"monitor_hidden": tuple(sorted(self._hidden))}))
        self._show_panes()
        self._redraw()

    def _show_panes(self) -> None:
        for name, (_, selector) in PANES.items():
            self.query_one(selector).set_class(name in self._hidden, "-off")
        self.query_one("#graphs").set_class(self._hidden >= GRAPHS, "-off")

    def action_details(self) -> None:
        """Open the record of the selected request, or what is known of one that still runs."""
        key = self._selected("requests")
        row = next((row for row in (self._drawn.requests if self._drawn else ()) if row.id == key), None)
        if row is None:
            return

        def failed(error: ErrorBody) -> None:
            self.app.push_screen(RowDialog(row))

        if row.state in ENDED:
            ask = QueryRequested("record", lambda client: client.request_record(row.id), self._open_record, failed)
            self.post_message(ask)
        else:
            self.app.push_screen(RowDialog(row))

    def _open_record(self, record: RequestRecord) -> None:
        self.app.push_screen(InspectorDialog(record))

    def action_window(self) -> None:
        self._window = WINDOWS[(WINDOWS.index(self._window) + 1) % len(WINDOWS)]
        self._records, self._asked_at = [], 0.0
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
