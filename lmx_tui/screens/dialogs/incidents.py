"""IncidentsDialog: all incidents in full, the newest first."""

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.units import ago_in_words
from lmx_tui.formatting import one_line
from lmx_tui.widgets.monitor.incidents_pane import TROUBLE, incident_words, without_repetitions


class IncidentsDialog(ModalScreen[None]):
    """A scrollable list of incidents."""

    BINDINGS = [
        Binding("escape,q,i,enter", "dismiss", "Close", id="incidents.close"),
        Binding("j", "down", "Down", show=False, id="incidents.down"),
        Binding("k", "up", "Up", show=False, id="incidents.up"),
    ]

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self._snapshot = snapshot

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", id="incidents-dialog") as box:
            box.border_title = "Incidents"
            box.border_subtitle = "esc close"
            yield Static(self._words(), markup=False)

    def on_mount(self) -> None:
        self.query_one("#incidents-dialog").focus()

    def _words(self) -> Text:
        names = self.app.theme_variables
        text = Text()
        for incident in reversed(without_repetitions(self._snapshot.status.incidents)):
            trouble = incident.kind in TROUBLE
            text.append("! " if trouble else "· ", names["error" if trouble else "muted"])
            text.append(one_line(incident.model), "bold")
            text.append(f"  {incident.kind}, {ago_in_words(self._snapshot.taken_at - incident.at)}\n", names["muted"])
            text.append(f"{incident_words(incident)}\n\n")
        text.append(f"more in {one_line(self._snapshot.status.log_file)}", names["muted"])
        return text

    def action_down(self) -> None:
        self.query_one("#incidents-dialog").scroll_down()

    def action_up(self) -> None:
        self.query_one("#incidents-dialog").scroll_up()
