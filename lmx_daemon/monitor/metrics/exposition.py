"""The metrics in the text formats of Prometheus and OpenMetrics. Each scrape has a registry of its own.

The module imports prometheus_client and is loaded by the first scrape.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from lmx_daemon.monitor.metrics.families import families
from lmx_daemon.monitor.metrics.readings import Readings


class Scrape(Collector):
    """The families of one scrape."""

    def __init__(self, read: Readings) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        return families(self._read)


def exposition(read: Readings, accept: str) -> tuple[bytes, str]:
    """Return the page in the format that the Accept header requests, and its Content-Type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Scrape(read))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type
