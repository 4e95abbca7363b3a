"""Dialogs with a text: all details of one request, or of one line of the log."""

from rich.text import Text
from textual.binding import Binding

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import LogLine, RequestRow
from lmx_tui.formatting import clean
from lmx_tui.messages import CopyRequested, QueryRequested
from lmx_tui.screens.dialogs.text_dialog import TextDialog
from lmx_tui.screens.logs.replay import replay
from lmx_tui.widgets.logs.inspection import inspection
from lmx_tui.widgets.logs.log_lines import plain_line
from lmx_tui.widgets.monitor.request_details import request_details


class LineDialog(TextDialog):
    """Dialog with one line of the log and all its data."""

    def __init__(self, line: LogLine) -> None:
        super().__init__("Log line")
        self._line = line

    def words(self, width: int) -> Text:
        colors = self.app.theme_variables
        text = Text(plain_line(self._line))
        for name, value in self._line.data.items():
            if name != "traceback":
                text.append(f"\n{clean(name)} ", colors["muted"]).append(clean(str(value)))
        return text

    def action_copy(self) -> None:
        self.post_message(CopyRequested(plain_line(self._line), "log line"))


class RowDialog(TextDialog):
    """Dialog with a request under way, in its state when the dialog was opened."""

    def __init__(self, row: RequestRow) -> None:
        super().__init__("Request")
        self._row = row

    def words(self, width: int) -> Text:
        return request_details(self._row, self.app.theme_variables)

    def action_copy(self) -> None:
        self.post_message(CopyRequested(self._row.id, "request id"))


class InspectorDialog(TextDialog):
    """Dialog with the record of a request that has ended."""

    BINDINGS = [
        Binding("e", "export", "Export", id="inspector.export"),
        Binding("r", "replay", "Replay", id="inspector.replay"),
    ]
    HINT = "e export · r replay · y copy id · esc close"

    def __init__(self, record: RequestRecord) -> None:
        super().__init__("Request")
        self._record = record

    def words(self, width: int) -> Text:
        return inspection(self._record, self.app.theme_variables, width)

    def action_copy(self) -> None:
        self.post_message(CopyRequested(self._record.id, "request id"))

    def action_replay(self) -> None:
        """Send the request again to a model that the user chooses."""
        replay(self, self._record)

    def action_export(self) -> None:
        record = self._record

        def came(markdown: str) -> None:
            self.post_message(CopyRequested(markdown, f"request as Markdown (lmx requests export {record.id})"))

        self.post_message(QueryRequested("export", lambda client: client.export_request(record.id), came))
