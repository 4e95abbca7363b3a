"""Incidents: what happened to models without a command. They go to the log, to `status` and to the screens."""

import time
from collections import Counter, deque
from collections.abc import Callable

from lmx_daemon.contract.models import Incident, IncidentKind
from lmx_daemon.contract.worker.messages import Log

KEPT = 50
"""Number of incidents that are kept."""
OnLog = Callable[[str, Log], None]
TROUBLE = ("crashed", "out of memory", "hung", "load failed", "undone")
"""Kinds of incidents that are errors in the log."""


class Incidents:
    """The last incidents."""

    def __init__(self, on_log: OnLog) -> None:
        """Begin without incidents. `on_log` writes a line of the log, under a name."""
        self._on_log = on_log
        self._incidents: deque[Incident] = deque(maxlen=KEPT)
        self.counts: Counter[tuple[IncidentKind, str]] = Counter()
        """Number of incidents by kind and model since the start."""

    def report(self, kind: IncidentKind, model: str, message: str) -> None:
        """Keep an incident, and write it to the log."""
        self.counts[kind, model] += 1
        self._incidents.append(Incident(at=time.time(), kind=kind, model=model, message=message))
        self.log(model, "error" if kind in TROUBLE else "info", message)

    def log(self, name: str, level: str, message: str, request: str | None = None) -> None:
        """Write a line to the log."""
        self.forward(name, Log(level=level, message=message, request=request))

    def forward(self, name: str, log: Log) -> None:
        """Write a line of a worker to the log."""
        self._on_log(name, log)

    def recent(self) -> tuple[Incident, ...]:
        """Return the last incidents, oldest first."""
        return tuple(self._incidents)
