"""Toasts for the differences between two snapshots: pulls that ended, and incidents. Pure."""

from collections.abc import Collection, Iterator

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS, Download
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Incident
from lmx_tui.formatting import short_name
from lmx_tui.messages import Notified
from lmx_tui.widgets.monitor.incidents_pane import TROUBLE, incident_words, new_incidents

MAX_SEPARATE = 3
"""Number of incidents above which one toast counts them."""


def notices(before: Snapshot | None, after: Snapshot, shown: Collection[str]) -> Iterator[Notified]:
    """Yield the toasts for the changes between two snapshots.

    `shown` contains messages of errors that were already shown; incidents with the same message are left out.
    """
    for pull in ended_pulls(before, after):
        if (notice := _of_pull(pull)) is not None:
            yield notice
    incidents = [incident for incident in new_incidents(before, after) if incident.message not in shown]
    if len(incidents) > MAX_SEPARATE:
        trouble = any(incident.kind in TROUBLE for incident in incidents)
        words = f"{len(incidents)} incidents with models"
        yield Notified(words, "f4, then i, lists them", "error" if trouble else "information")
    else:
        yield from map(_of_incident, incidents)


def ended_pulls(before: Snapshot | None, after: Snapshot) -> list[Download]:
    """Return the pulls that ended between two snapshots, including pulls that began after the first one."""
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
