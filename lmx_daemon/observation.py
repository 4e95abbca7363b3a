"""Wiring of the request observers: the log line, the record and what else is made of each request."""

import asyncio
from dataclasses import dataclass

from lmx_daemon.contract.observers import RequestObserver
from lmx_daemon.history.history import History
from lmx_daemon.history.store import HistoryStore
from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.monitor.metrics.request_metrics import RequestMetrics
from lmx_daemon.monitor.request_log import RequestLog
from lmx_daemon.monitor.traces.traces import Traces
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.source import SettingsSource


@dataclass(frozen=True)
class Observation:
    """The observers of all requests that other parts of the daemon read."""

    history: History
    metrics: RequestMetrics
    traces: Traces

    @classmethod
    def of(cls, home: Home, source: SettingsSource) -> "Observation":
        """Build the observers. None of them opens a file or starts a thread."""
        dialects = public_dialects()
        store = HistoryStore(home.history, lambda: source.current.history)
        history = History(store, lambda: source.current.history, lambda route: dialects.owner(route).name)
        traces = Traces(lambda: source.current.traces)
        source.subscribe(lambda old, new: traces.configure() if old.traces != new.traces else None)
        return cls(history, RequestMetrics(lambda: source.current.metrics), traces)

    def observers(self) -> list[RequestObserver]:
        """Return all observers, in the order of their calls."""
        return [RequestLog(), self.history, self.metrics, self.traces]

    def open(self) -> None:
        """Begin to write. To be called once the servers answer."""
        self.history.open()
        self.traces.configure()

    async def close(self) -> None:
        """Write what waits."""
        await self.history.close()
        await asyncio.to_thread(self.traces.close)
