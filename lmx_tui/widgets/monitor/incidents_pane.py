"""IncidentsPane: the latest incidents of a snapshot, one line each, the newest first; and questions about incidents."""

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Incident, IncidentKind
from lmx_daemon.contract.units import age
from lmx_tui.formatting import one_line, short_name, shorten
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText

TROUBLE: frozenset[IncidentKind] = frozenset({"crashed", "out of memory", "hung", "load failed", "undone"})
"""Kinds that made a request or a load fail; the others are lmx's own housekeeping."""
ROOMY = 100
NAME_CELLS = (16, 24)
SHOWN = 5
FRESH_SECONDS = (3600.0, 86400.0)
"""Seconds for which the pane shows housekeeping, and those for trouble. The dialog shows all incidents."""


def new_incidents(before: Snapshot | None, after: Snapshot) -> list[Incident]:
    """Return the incidents between two snapshots, the oldest first; none if `before` is None."""
    known = set(before.status.incidents) if before is not None else set(after.status.incidents)
    return without_repetitions([incident for incident in after.status.incidents if incident not in known])


def without_repetitions(incidents: Sequence[Incident]) -> list[Incident]:
    """Return the incidents without consecutive repetitions: an undone load fails too, with the same message."""
    return [
        incident
        for number, incident in enumerate(incidents)
        if not number
        or (incident.model, incident.message) != (incidents[number - 1].model, incidents[number - 1].message)
    ]


def is_fresh(incident: Incident, now: float) -> bool:
    return now - incident.at < FRESH_SECONDS[incident.kind in TROUBLE]


def incident_words(incident: Incident) -> str:
    """Return the message without the model's name at its start, since the name is shown before the message."""
    return one_line(incident.message).removeprefix(f"{one_line(incident.model)} ")


class IncidentsPane(Pane):
    """The list of recent incidents. Hidden while there is none."""

    DEFAULT_CSS = """
    IncidentsPane { height: auto; display: none; }
    IncidentsPane.-some { display: block; }
    IncidentsPane > Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__("Incidents", id="incidents", classes="live")
        self._text = StaticText()
        self._shown: Snapshot | None = None

    def compose(self) -> ComposeResult:
        yield self._text

    def on_resize(self) -> None:
        if self._shown is not None:
            self.show(self._shown)

    def show(self, snapshot: Snapshot) -> None:
        self._shown = snapshot
        incidents = without_repetitions(snapshot.status.incidents)
        fresh = [incident for incident in incidents if is_fresh(incident, snapshot.taken_at)]
        self.set_class(bool(fresh), "-some")
        self.titled(f"7 Incidents  {len(incidents)}", "i shows all")
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, incident in enumerate(reversed(fresh[-SHOWN:])):
            text.append("\n" if number else "").append_text(self._line(incident, snapshot.taken_at))
        self._text.show(text)

    def _line(self, incident: Incident, now: float) -> Text:
        room = NAME_CELLS[self.content_size.width >= ROOMY]
        trouble = incident.kind in TROUBLE
        text = Text("! " if trouble else "· ", self._style("error" if trouble else "muted"))
        text.append(f"{age(max(0.0, now - incident.at)):>3}  ", self._style("muted"))
        text.append(f"{shorten(short_name(incident.model), room):<{room}}  ", self._style("foreground"))
        return text.append(incident_words(incident), self._style("foreground" if trouble else "muted"))

    def _style(self, name: str) -> Style:
        return Style.parse(self.app.theme_variables[name])
