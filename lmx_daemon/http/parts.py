"""The parts of the daemon that its routes use. `main` builds them; routes receive them by name and type."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from litestar.di import Provide

from lmx_daemon.chats.chats import Chats
from lmx_daemon.history.history import History
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.http.service import ModelService
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.library import Library
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.monitor.logs import Logs
from lmx_daemon.monitor.metrics.page import MetricsPage
from lmx_daemon.monitor.snapshot import Monitor
from lmx_daemon.residency.pool import Pool
from lmx_daemon.router.router import Router
from lmx_daemon.settings.live_config import LiveConfig
from lmx_daemon.settings.paths import Home
from lmx_daemon.storage.keys import KeyStore


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts of the daemon. A route of the admin socket receives a part by an argument with the name of its field."""

    service: ModelService
    pool: Pool
    catalog: Catalog
    library: Library
    pulls: PullQueue
    router: Router
    monitor: Monitor
    logs: Logs
    history: History
    chats: Chats
    metrics: MetricsPage
    keys: KeyStore
    home: Home
    config: LiveConfig
    bodies: BodyReader
    stop: Callable[[], None]

    def dependencies(self) -> dict[str, Provide]:
        """Return the dependencies that Litestar injects into the routes of the admin socket."""
        return {field.name: provide(getattr(self, field.name)) for field in fields(self)}


def provide(value: Any) -> Provide:
    """Return a dependency that is always `value`.

    A route of the public port takes one dependency at most. Litestar resolves several in a task group, which costs
    0.1 ms for each request.
    """

    def provided() -> Any:
        return value

    return Provide(provided, sync_to_thread=False)
