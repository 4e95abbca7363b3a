"""Events on the time axis of a graph: loads, unloads and trouble of models. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_tui.formatting import short_name, shorten
from lmx_tui.widgets.monitor.incidents_pane import TROUBLE

LEAST_LABEL = 5
"""Cells below which a mark has no label."""


@dataclass(frozen=True)
class Mark:
    """An event at a moment."""

    at: float
    sign: str
    label: str
    color: str


def marks_of(snapshot: Snapshot, window: int) -> list[Mark]:
    """Return the events of the last `window` seconds, the oldest first."""
    since = snapshot.taken_at - window
    found = [
        Mark(instance.loaded_at, "+", short_name(instance.model), "success")
        for instance in snapshot.instances
        if instance.loaded_at is not None
    ]
    for incident in snapshot.status.incidents:
        trouble = incident.kind in TROUBLE
        label = f"{short_name(incident.model)} {incident.kind}" if trouble else short_name(incident.model)
        found.append(Mark(incident.at, "!" if trouble else "-", label, "error" if trouble else "muted"))
    return sorted((mark for mark in found if since <= mark.at <= snapshot.taken_at), key=lambda mark: mark.at)


def axis(marks: Sequence[Mark], now: float, window: int, width: int, colors: Mapping[str, str]) -> Text:
    """Return one row of `width` cells with each mark at its time and a label if there is room."""
    text = Text(no_wrap=True, overflow="crop")
    columns = [min(width - 1, round((1 - (now - mark.at) / window) * width)) for mark in marks]
    for number, (mark, column) in enumerate(zip(marks, columns, strict=True)):
        if column < len(text):
            continue  # the mark before it covers this place
        text.append(" " * (column - len(text))).append(mark.sign, colors[mark.color])
        end = next((later for later in columns[number + 1 :] if later > column), width)
        room = end - column - 2
        if room >= LEAST_LABEL:
            text.append(f" {shorten(mark.label, room - 1)}", colors["muted"])
    return text
