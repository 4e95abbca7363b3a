"""The builder of snapshots, from which every screen is drawn, and of the samples behind their graphs."""

import os
import platform
import time
from collections.abc import Callable, Sequence

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.admin.protocol import PROTOCOL
from lmx_daemon.contract.admin.snapshot import HostMemory, Revisions, Snapshot, Status
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.version import VERSION
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.memory.host import Host
from lmx_daemon.monitor.revised import Revised
from lmx_daemon.monitor.series import SeriesRecorder
from lmx_daemon.residency.pool import Pool
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.source import SettingsSource

SAMPLE_SECONDS = 1.0


class Monitor:
    """The state of all parts of the daemon, as structs of the contract."""

    def __init__(
        self,
        home: Home,
        settings: SettingsSource,
        pool: Pool,
        host: Host,
        catalog: Catalog,
        pulls: PullQueue,
        addresses: Sequence[str],
        chats: Callable[[], int] = lambda: 0,
        key_required: Callable[[], bool] = lambda: False,
        tls_expiry: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Begin without samples. `chats` returns the revision of the list of chats."""
        self._chats = chats
        self._home = home
        self._pool = pool
        self._catalog = catalog
        self._pulls = pulls
        self._addresses = tuple(addresses)
        self._key_required, self._tls_expiry = key_required, tls_expiry
        self._settings = settings
        self._host = host
        self._series = SeriesRecorder()
        self._started = time.monotonic()
        self._started_at = time.time()
        self._models: Revised[Model] = Revised()
        self._downloads: Revised[Download] = Revised()
        self._workers = 0
        self._pressure: str = "normal"
        self.draining = False

    def status(self) -> Status:
        pool = self._pool
        return Status(
            version=VERSION,
            protocol=PROTOCOL,
            pid=os.getpid(),
            started_at=self._started_at,
            uptime=time.monotonic() - self._started,
            address=self._addresses[0],
            other_addresses=self._addresses[1:],
            home=str(self._home.root),
            health=pool.health(),
            versions=pool.accounts.versions,
            backend=pool.accounts.backend,
            platform=f"{platform.system()} {platform.machine()}",
            draining=self.draining,
            spare=pool.spares.state,
            log_file=str(self._home.log_file),
            api_key=self._key_required(),
            tls_expires_at=self._tls_expiry(),
            config_fault=self._settings.fault,
            config_waiting=self._settings.waiting,
            incidents=pool.incidents.recent(),
        )

    def memory(self) -> HostMemory:
        limits = self._host.limits()
        return HostMemory(
            total=limits.total,
            available=limits.available,
            cap=limits.cap,
            daemon=self._host.daemon(),
            workers=self._workers,
            models=sum(instance.memory.active for instance in self._pool.instances()),
            claimed=self._pool.claimed(),
            source=limits.source,
            pressure=self._pressure,
        )

    def snapshot(self) -> Snapshot:
        models, downloads = self._models.update(self._catalog.known()), self._downloads.update(self._pulls.list())
        return Snapshot(
            status=self.status(),
            memory=self.memory(),
            models=models,
            instances=tuple(self._pool.instances()),
            requests=(*self._pool.requests.rows(), *self._pool.requests.recent_rows()),
            downloads=downloads,
            series=self._series.series(),
            taken_at=time.time(),
            revisions=Revisions(models=self._models.revision, downloads=self._downloads.revision),
            chats=self._chats(),
        )

    def sample(self) -> None:
        """Add a sample to the series. To be called every SAMPLE_SECONDS."""
        instances = self._pool.instances()
        self._workers = sum(instance.held for instance in instances)
        self._workers += sum(self._host.use(spare.pid).memory for spare in self._pool.spares.workers)
        self._pressure = self._host.room().pressure
        self._series.sample(instances, self._workers + self._host.daemon())
