"""Assembly of the daemon: every part is built here, once, and given what it needs."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lmx_daemon.chats.answers import RoutedModels
from lmx_daemon.chats.chats import Chats
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.chats.title_maker import TitleMaker
from lmx_daemon.contract.admin.library.files import Fit
from lmx_daemon.contract.models import InstanceState
from lmx_daemon.contract.worker.messages import Log
from lmx_daemon.http.guard.access import needs_key
from lmx_daemon.http.images.remote import RemoteImages
from lmx_daemon.http.parts import Parts
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.http.server.public_port import PublicPort
from lmx_daemon.http.service import ModelService
from lmx_daemon.library.catalog.fit import MachineCapacity
from lmx_daemon.library.library import Library
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.memory.host import Host
from lmx_daemon.monitor.console import Console
from lmx_daemon.monitor.logs import Logs, log
from lmx_daemon.monitor.metrics.page import MetricsPage
from lmx_daemon.monitor.snapshot import Monitor
from lmx_daemon.monitor.worker_log import WorkerLog
from lmx_daemon.observation import Observation
from lmx_daemon.power.awake import Awake
from lmx_daemon.residency.decisions.loading.placement import Decision, Fits, Refused, Waits
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.pool import Pool
from lmx_daemon.residency.workers.environment import worker_environment
from lmx_daemon.residency.workers.programs import PROGRAMS
from lmx_daemon.residency.workers.worker import Worker
from lmx_daemon.router.missing import MissingModels
from lmx_daemon.router.names import RouterNames
from lmx_daemon.router.preset_files import PresetFiles
from lmx_daemon.router.router import Router
from lmx_daemon.router.saved_aliases import SavedAliases
from lmx_daemon.settings.live_config import LiveConfig
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_daemon.settings.source import SettingsSource
from lmx_daemon.settings.values.memory_limit import MemoryLimit
from lmx_daemon.storage.keys import KeyStore

LOADS: tuple[InstanceState, ...] = ("starting", "loading")


@dataclass(frozen=True)
class Assembly:
    """The parts of a daemon: those that routes use, and those that only its start and its end use."""

    parts: Parts
    observation: Observation
    titles: TitleMaker
    awake: Awake


def assemble(
    home: Home, config: LiveConfig, port: PublicPort, worker_log: WorkerLog, stop: Callable[[], None], *, console: bool
) -> Assembly:
    """Build all parts. None of them begins its work."""
    source = config.source
    logs = _logs_of(home, source, console)
    host = Host(lambda: MemoryLimit(source.current.engine.memory))
    library = _library_of(home, source, host, lambda: pool)
    catalog, pulls = library.registry.catalog, library.pulls
    observation, incidents = Observation.of(home, source), Incidents(_log_worker)
    pool = _pool_of(home, source, library, host, incidents, observation, worker_log)
    source.subscribe(partial(_limit_pulls, pulls))
    names = RouterNames(lambda: source.current.router, SavedAliases(home.aliases), PresetFiles(home.presets))
    router = Router(lambda: source.current.router, names, catalog, pool, MissingModels(pulls))
    chats, titles = _chats_of(home, source, router, pool)
    monitor = Monitor(
        home, source, pool, host, catalog, pulls, port.addresses, lambda: chats.revision,
        key_required=lambda: needs_key(source.current.server, port.exposed), tls_expiry=lambda: port.expires_at,
    )  # fmt: skip
    bodies = BodyReader(lambda: source.current.server)
    service = ModelService(pool, catalog, router, bodies, RemoteImages(lambda: source.current.server))
    metrics = MetricsPage(observation.metrics, monitor, incidents, lambda: source.current.metrics)
    parts = Parts(
        service=service, pool=pool, catalog=catalog, library=library, pulls=pulls, router=router, monitor=monitor,
        logs=logs, history=observation.history, chats=chats, metrics=metrics, keys=KeyStore(home.keys), home=home,
        config=config, bodies=bodies, stop=stop,
    )  # fmt: skip
    return Assembly(parts, observation, titles, _awake_of(source, pool, pulls))


def _logs_of(home: Home, source: SettingsSource, console: bool) -> Logs:
    logs = Logs(home.log_file, source.current.logs, Console(sys.stderr.fileno()) if console else None)
    logs.install()
    source.subscribe(lambda _, new: logs.configure(new.logs))
    return logs


def _library_of(home: Home, source: SettingsSource, host: Host, pool: Callable[[], Pool]) -> Library:
    """Return the library. It asks the pool for models in memory, and the pool asks it for models on disk."""

    def capacity() -> MachineCapacity:
        accounts = pool().accounts
        return MachineCapacity(
            host.limits().cap,
            accounts.device_of("text"),
            lambda needed: _fit(accounts.placing(needed)),
            accounts.measured,
        )

    return Library(home, lambda: source.current.library, os.environ, machine=capacity, in_use=lambda: pool().folders())


def _pool_of(
    home: Home,
    source: SettingsSource,
    library: Library,
    host: Host,
    incidents: Incidents,
    observation: Observation,
    worker_log: WorkerLog,
) -> Pool:
    environment = worker_environment(os.environ)
    return Pool(
        source,
        find=library.registry.find,
        clear=library.registry.clear,
        start=lambda name, kind: Worker.start(
            name, PROGRAMS[kind].command, environment, worker_log.open, incidents.forward, host.oom_kills.recent
        ),
        host=host,
        measurements=Measurements(home.measured),
        prefixes=home.prefixes,
        incidents=incidents,
        observers=observation.observers(),
    )


def _chats_of(home: Home, source: SettingsSource, router: Router, pool: Pool) -> tuple[Chats, TitleMaker]:
    models = RoutedModels(router, pool)
    store = ChatStore(home.chats, lambda: source.current.chats.trash_days)
    chats = Chats(store, models, lambda work: pool.background.run(work))
    titles = TitleMaker(
        chats,
        models,
        enabled=lambda: source.current.chats.titles,
        loaded=lambda: {found.model for found in pool.instances() if found.state == "ready"},
        running=lambda: len(pool.requests.rows()),
    )
    return chats, titles


def _awake_of(source: SettingsSource, pool: Pool, pulls: PullQueue) -> Awake:
    return Awake(
        lambda: source.current.server.prevent_sleep,
        lambda: pool.requests.busy() or pulls.busy() or any(found.state in LOADS for found in pool.instances()),
        lambda reason: log("daemon", "info", reason),
    )


def _fit(decision: Decision) -> Fit:
    match decision:
        case Fits(evict=()):
            return "yes"
        case Fits() | Waits():
            return "after unloading"
        case Refused():
            return "no"


def _limit_pulls(pulls: PullQueue, old: Settings, new: Settings) -> None:
    """Let a changed rate limit displace the one that a command has set."""
    before, after = old.library, new.library
    if (before.bytes_per_second, before.rate_schedule) != (after.bytes_per_second, after.rate_schedule):
        pulls.limit.follow_settings()


def _log_worker(name: str, found: Log) -> None:
    log(f"worker {name}", found.level, found.message, found.request)
