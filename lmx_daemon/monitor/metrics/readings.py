"""What the metrics are made of at one moment."""

from collections.abc import Mapping
from typing import NamedTuple

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import IncidentKind
from lmx_daemon.monitor.metrics.request_metrics import RequestMetrics


class Readings(NamedTuple):
    """Everything that is counted or measured."""

    requests: RequestMetrics
    snapshot: Snapshot
    incidents: Mapping[tuple[IncidentKind, str], int]
    """Number of incidents by kind and model since the start."""
