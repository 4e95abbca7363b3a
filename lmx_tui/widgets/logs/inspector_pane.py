"""InspectorPane: the selected request, below the list of requests."""

from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.logs.inspection import inspection


class InspectorPane(Pane):
    """The record of one request. The pane is hidden in short terminals, where a dialog shows the record."""

    DEFAULT_CSS = """
    InspectorPane { height: auto; max-height: 24; min-height: 8; overflow-y: auto; scrollbar-size-vertical: 1; }
    InspectorPane > Static { height: auto; }
    """
    can_focus = False

    def __init__(self) -> None:
        super().__init__("Request", id="inspector", classes="live")
        self._text = StaticText()
        self._record: RequestRecord | None = None

    def compose(self) -> ComposeResult:
        yield self._text

    def on_resize(self) -> None:
        self.show(self._record)

    def show(self, record: RequestRecord | None) -> None:
        self._record = record
        colors = self.app.theme_variables
        if record is None:
            self._text.show(Text("no request is selected", colors["muted"]))
        else:
            self._text.show(inspection(record, colors, max(20, self.content_size.width)))
