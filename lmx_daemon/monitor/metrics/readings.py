"""Data from which a scrape computes the metrics."""

from collections.abc import Mapping
from typing import NamedTuple

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import IncidentKind
from lmx_daemon.monitor.metrics.request_metrics import RequestMetrics


class Readings(NamedTuple):
    """Counters of requests, the state of the daemon, and the incidents."""

    requests: RequestMetrics
    snapshot: Snapshot
    incidents: Mapping[tuple[IncidentKind, str], int]
    """Number of incidents by kind and model since the start."""
