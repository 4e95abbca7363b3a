"""LogsScreen: the daemon's log as it grows, and the requests that have ended, each with its timeline."""

from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import DataTable, Input

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import LogLine, Snapshot
from lmx_daemon.contract.errors import ErrorBody
from lmx_tui import keys
from lmx_tui.choices import Choices
from lmx_tui.messages import ChoiceMade, CopyRequested, Notified, QueryRequested, StreamRequested
from lmx_tui.screens.logs.inspector import InspectorDialog, LineDialog
from lmx_tui.screens.logs.replay import replay
from lmx_tui.screens.page import Page
from lmx_tui.widgets.frame.filter_input import FilterInput
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.logs.inspector_pane import InspectorPane
from lmx_tui.widgets.logs.log_lines import LEVELS, LogCriteria, plain_line
from lmx_tui.widgets.logs.log_view import LogView
from lmx_tui.widgets.logs.record_rows import RECORD_COLUMNS, key_of, record_rows
from lmx_tui.widgets.monitor.requests import ENDED

TAIL = 2000
"""Lines of the past that the log begins with; the daemon keeps no more."""
RECORDS = 200
FLUSH_SECONDS = 0.1
"""Interval at which received lines are drawn."""
AGAIN_SECONDS = 2.0
"""Delay before the log is followed again after its stream ended."""
AGES_SECONDS = 10.0
"""Interval at which the ages of requests are drawn again."""
PANES = {"log": "#log", "requests": "#records-table"}


class LogsScreen(Page):
    """The Logs screen."""

    BINDINGS = keys.LOGS
    AUTO_FOCUS = "#log"
    mode = "logs"

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self._pane = choices.logs_pane if choices.logs_pane in PANES else "log"
        self._level = choices.logs_level if choices.logs_level in LEVELS else "info"
        self._following_daemon = False
        """Whether the stream of the log is open."""
        self._received: list[LogLine] = []
        """Lines that are not drawn yet."""
        self._records: list[RequestRecord] = []
        self._query = ""
        """Words that filter the requests."""
        self._known_ended: frozenset[str] | None = None
        self._drawn_at = 0.0

    def compose_body(self) -> ComposeResult:
        yield FilterInput(id="log-filter", compact=True)
        with Horizontal(id="logs-row"):
            with Pane("Log", id="log-pane", classes="live"):
                yield LogView(id="log")
            with Vertical(id="records-column"):
                with Pane("Requests", id="records", classes="live"):
                    yield Table(RECORD_COLUMNS, id="records-table")
                yield InspectorPane()

    def on_mount(self) -> None:
        self.query_one("#log-filter").display = False
        self.query_one(LogView).show_only(LogCriteria(self._level))
        self.query_one("#records-table", Table).set_empty_text("no request has ended yet")
        self._show_pane(self._pane)

    def main_widget(self) -> Widget:
        return self.query_one(PANES[self._pane])

    # ---- what arrives ----

    def show(self, snapshot: Snapshot) -> None:
        if not self._following_daemon and self.view.online:
            self._follow_daemon()
        ended = frozenset(row.id for row in snapshot.requests if row.state in ENDED)
        if self._known_ended is None or ended - self._known_ended:
            self._ask_records()
        self._known_ended = ended
        if snapshot.taken_at - self._drawn_at >= AGES_SECONDS:
            self._show_records()

    def _follow_daemon(self) -> None:
        self._following_daemon = True
        self.query_one(LogView).clear()
        self._received = []
        self.post_message(
            StreamRequested("logs", lambda client: client.logs(tail=TAIL), self._line_arrived, self._stream_ended)
        )

    def _line_arrived(self, line: LogLine) -> None:
        self._received.append(line)
        if len(self._received) == 1:
            self.set_timer(FLUSH_SECONDS, self._draw_received)

    def _draw_received(self) -> None:
        lines, self._received = self._received, []
        self.query_one(LogView).add(lines)

    def _stream_ended(self, error: ErrorBody | None) -> None:
        def again() -> None:
            self._following_daemon = False

        self.set_timer(AGAIN_SECONDS, again)

    def _ask_records(self) -> None:
        self.post_message(QueryRequested("history", lambda client: client.history(limit=RECORDS), self._records_came))

    def _records_came(self, records: list[RequestRecord]) -> None:
        self._records = records
        self._show_records()

    def _show_records(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            return
        self._drawn_at = snapshot.taken_at
        table = self.query_one("#records-table", Table)
        first = not table.row_count or table.cursor_row == 0
        rows = record_rows(self._records, self._query, snapshot.taken_at, self.app.theme_variables)
        table.show(rows)
        if first and rows:
            table.select(next(iter(rows)))
        found = f"{len(rows)} of {len(self._records)}" if self._query else f"{len(self._records)}"
        note = f"filter: {self._query}" if self._query else "enter details · lmx requests"
        self.query_one("#records", Pane).titled(f"2 Requests  {found}", note)
        self._inspect()

    @on(DataTable.RowHighlighted, "#records-table")
    def _inspect(self) -> None:
        self.query_one(InspectorPane).show(self._record())

    def _record(self) -> RequestRecord | None:
        key = self.query_one("#records-table", Table).selected
        return next((record for record in self._records if key_of(record) == key), None)

    @on(LogView.Changed)
    def _title_log(self) -> None:
        view = self.query_one(LogView)
        shown, total = view.counts
        wanted = view.filter
        found = f"{shown} of {total}" if shown != total else str(total)
        kind = "filter" if wanted.only_matches else "find"
        parts = (f"{kind}: {wanted.pattern}" if wanted.pattern else "", f"level {wanted.level}")
        follow = "following" if view.following else "f follows"
        self.query_one("#log-pane", Pane).titled(f"1 Log  {found}", " · ".join((*filter(None, parts), follow)))

    # ---- filter ----

    def action_filter(self) -> None:
        field = self.query_one("#log-filter", FilterInput)
        log = self._pane == "log"
        field.placeholder = "a regular expression" if log else "words of the id, model, client or error"
        field.value = self.query_one(LogView).filter.pattern if log else self._query
        field.open()

    def action_clear(self) -> None:
        field = self.query_one("#log-filter", FilterInput)
        field.value = ""
        self._set_query("")
        field.display = False
        self.main_widget().focus()

    @on(Input.Changed, "#log-filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        if self.query_one("#log-filter").has_focus:
            self._set_query(event.value.strip())

    @on(Input.Submitted, "#log-filter")
    def _filter_done(self) -> None:
        self.query_one("#log-filter").display = False
        self.main_widget().focus()

    def _set_query(self, text: str) -> None:
        if self._pane == "log":
            view = self.query_one(LogView)
            view.show_only(replace(view.filter, pattern=text))
        else:
            self._query = text
            self._show_records()

    # ---- verbs ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "clear":
            field = self.query_one("#log-filter")
            return bool(self._query if self._pane == "requests" else self.query_one(LogView).filter.pattern) or bool(
                field.display
            )
        if action == "pane":
            return parameters != (self._pane,) and super().check_action(action, parameters)
        if action in ("level", "only_matches", "match", "follow"):
            return self._pane == "log" and super().check_action(action, parameters)
        if action in ("export", "replay"):
            return self._pane == "requests" and super().check_action(action, parameters)
        return super().check_action(action, parameters)

    def action_pane(self, name: str) -> None:
        self._pane = name
        self.post_message(ChoiceMade({"logs_pane": name}))
        self._show_pane(name)
        self.main_widget().focus()
        self.refresh_bindings()

    def _show_pane(self, name: str) -> None:
        for pane in PANES:
            self.set_class(pane == name, f"-{pane}")

    def action_level(self) -> None:
        view = self.query_one(LogView)
        level = LEVELS[(LEVELS.index(view.filter.level) + 1) % len(LEVELS)]
        view.show_only(replace(view.filter, level=level))
        self.post_message(ChoiceMade({"logs_level": level}))

    def action_only_matches(self) -> None:
        view = self.query_one(LogView)
        view.narrow(only_matches=not view.filter.only_matches)

    def action_match(self, step: int) -> None:
        if not self.query_one(LogView).match(step):
            self.post_message(Notified("nothing to find; / enters a pattern"))

    def action_follow(self) -> None:
        view = self.query_one(LogView)
        view.following = not view.following
        if view.following:
            view.action_end("last")
        else:
            view.move(view.cursor)
            view.following = False
        self._title_log()

    def action_copy(self) -> None:
        line, record = self.query_one(LogView).selected, self._record()
        if self._pane == "log" and line is not None:
            self.post_message(CopyRequested(plain_line(line), "log line"))
        elif self._pane == "requests" and record is not None:
            self.post_message(CopyRequested(record.id, "request id"))

    def action_details(self) -> None:
        line, record = self.query_one(LogView).selected, self._record()
        if self._pane == "requests" and record is not None:
            self.app.push_screen(InspectorDialog(record))
        elif self._pane == "log" and line is not None:
            self._details_of(line)

    def _details_of(self, line: LogLine) -> None:
        """Open the request of a line, if its record is at hand, else the line in full."""
        records = [record for record in self._records if record.id == line.request]
        self.app.push_screen(InspectorDialog(records[-1]) if records else LineDialog(line))

    def action_replay(self) -> None:
        record = self._record()
        if record is not None:
            replay(self, record)

    def action_export(self) -> None:
        record = self._record()
        if record is not None:
            export(self, record)


def export(widget: Widget, record: RequestRecord) -> None:
    """Copy a request as Markdown."""

    def came(markdown: str) -> None:
        widget.post_message(CopyRequested(markdown, f"request as Markdown (lmx requests export {record.id})"))

    widget.post_message(QueryRequested("export", lambda client: client.export_request(record.id), came))
