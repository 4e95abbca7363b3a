"""The page of all metrics, which Prometheus scrapes."""

import asyncio
from collections.abc import Callable
from importlib import import_module

from lmx_daemon.contract.errors import NotFoundError
from lmx_daemon.monitor.metrics.readings import Readings
from lmx_daemon.monitor.metrics.request_metrics import RequestMetrics
from lmx_daemon.monitor.snapshot import Monitor
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.settings.sections.metrics import MetricsSettings


class MetricsPage:
    """The page. Its values are read when it is asked for, so that a daemon without a scraper computes nothing."""

    def __init__(
        self, requests: RequestMetrics, monitor: Monitor, incidents: Incidents, settings: Callable[[], MetricsSettings]
    ) -> None:
        self._requests, self._monitor, self._incidents, self._settings = requests, monitor, incidents, settings

    def responded(self, dialect: str, status: int) -> None:
        """Count an answer of the public port."""
        self._requests.responded(dialect, status)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return the page in the form that the Accept header asks for, and its Content-Type. Raise NotFoundError."""
        if not self._settings().enabled:
            raise NotFoundError("metrics are switched off", hint="set [metrics] enabled = true in config.toml")
        module = await asyncio.to_thread(import_module, "lmx_daemon.monitor.metrics.exposition")  # 40 ms the first time
        page: tuple[bytes, str] = module.exposition(
            Readings(self._requests, self._monitor.snapshot(), self._incidents.counts), accept
        )
        return page
