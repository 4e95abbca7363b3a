"""What happened to models without being asked for: to the log, and the last of it for `status` and the screens."""

import time
from collections import deque
from collections.abc import Callable

from lmx_daemon.contract.frames import Log
from lmx_daemon.contract.types import Incident, IncidentKind

KEPT = 50
OnLog = Callable[[str, Log], None]
TROUBLE = ("crashed", "out of memory", "hung", "load failed", "undone")


class Incidents:
    def __init__(self, on_log: OnLog) -> None:
        self._on_log = on_log
        self._incidents: deque[Incident] = deque(maxlen=KEPT)

    def report(self, kind: IncidentKind, model: str, message: str) -> None:
        self._incidents.append(Incident(at=time.time(), kind=kind, model=model, message=message))
        self.log(model, "error" if kind in TROUBLE else "info", message)

    def log(self, name: str, level: str, message: str, request: str | None = None) -> None:
        self.forward(name, Log(level=level, message=message, request=request))

    def forward(self, name: str, log: Log) -> None:
        self._on_log(name, log)

    def recent(self) -> tuple[Incident, ...]:
        """Oldest first."""
        return tuple(self._incidents)
