"""What is worth a toast between two snapshots: pulls that ended, and what happened to models. Pure."""

from collections.abc import Collection, Iterator

from lmx_daemon.contract.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.types import Incident, Snapshot
from lmx_tui.formatting import short_name
from lmx_tui.messages import Notified
from lmx_tui.widgets.monitor.incidents_pane import TROUBLE, incident_words, new_incidents

AT_ONCE = 3
"""More incidents than these are told in one toast."""


def notices(before: Snapshot | None, after: Snapshot, said: Collection[str]) -> Iterator[Notified]:
    """`said`: errors that were shown already, as the answer to what was asked here; incidents in the same words are
    not told again."""
    for pull in ended_pulls(before, after):
        if (notice := _of_pull(pull)) is not None:
            yield notice
    incidents = [incident for incident in new_incidents(before, after) if incident.message not in said]
    if len(incidents) > AT_ONCE:
        trouble = any(incident.kind in TROUBLE for incident in incidents)
        words = f"{len(incidents)} incidents with models"
        yield Notified(words, "f4, then i, tells them", "error" if trouble else "information")
    else:
        yield from map(_of_incident, incidents)


def ended_pulls(before: Snapshot | None, after: Snapshot) -> list[Download]:
    """The pulls that came to their end between two snapshots, those that began after the first one too."""
    if before is None:
        return []
    known = {pull.id for pull in before.downloads if pull.state in DOWNLOAD_ENDS}
    return [pull for pull in after.downloads if pull.id not in known and pull.state in DOWNLOAD_ENDS]


def _of_pull(pull: Download) -> Notified | None:
    if pull.state == "done":
        return Notified(f"{short_name(pull.repo)} is here", "enter on the Models screen loads it")
    if pull.error is None:
        return None
    named = pull.repo in pull.error.message
    return Notified(pull.error.message if named else f"{pull.repo}: {pull.error.message}", pull.error.hint, "error")


def _of_incident(incident: Incident) -> Notified:
    trouble = incident.kind in TROUBLE
    words = f"{short_name(incident.model)} {incident.kind}: {incident_words(incident)}"
    return Notified(words, "f4 shows what happened" if trouble else None, "error" if trouble else "information")
