"""A real Pool over fake workers: what is loaded, evicted and withdrawn, without a process."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lmx_daemon.contract.errors import LmxError, WorkerError
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.requests import Generate, Text
from lmx_daemon.contract.worker.messages import Capabilities, Heartbeat, Hello, Load, Loaded, LoadProgress, MemoryUse
from lmx_daemon.memory.budget import MemoryBudget, Pressure, ProcessUse
from lmx_daemon.residency.active_request import ActiveRequest
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.plan import Beat
from lmx_daemon.residency.pool import Pool
from lmx_daemon.settings.schema import EngineSettings, Settings
from lmx_daemon.settings.source import SettingsSource

MB = 1024**2
WEIGHTS = 100 * MB


class FakeWorker:
    """A worker that loads when `proceed` is set, and leaves when it is asked to."""

    def __init__(self, pid: int) -> None:
        self.name = ""
        self.pid = pid
        self.requests: dict[str, ActiveRequest] = {}
        self.memory = MemoryUse(active=WEIGHTS, weights=WEIGHTS, resident=WEIGHTS + 50 * MB)
        self.heartbeat = Heartbeat(steps=0, busy=False)
        self.hello: Hello | None = Hello(protocol=1, engine="fake", pid=pid, backend="cpu")
        self.ended: asyncio.Future[LmxError] = asyncio.get_running_loop().create_future()
        self.leaving = False
        self.proceed = asyncio.Event()
        self.command: Load | None = None
        self.grants: list[int] = []
        self.last_beat: Beat | None = None
        """What `beat` returns; None is an idle worker that was heard just now."""
        self.report: Callable[[LoadProgress], None] = lambda progress: None

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def beat(self) -> Beat:
        now = time.monotonic()
        return self.last_beat or Beat(now, now, False)

    async def ready(self) -> Hello:
        assert self.hello is not None
        return self.hello

    async def load(self, command: Load, on_progress: Callable[[LoadProgress], None]) -> Loaded:
        self.command, self.report = command, on_progress
        proceed = asyncio.ensure_future(self.proceed.wait())
        await asyncio.wait([proceed, self.ended], return_when=asyncio.FIRST_COMPLETED)
        proceed.cancel()
        if self.ended.done():
            raise self.ended.result()
        return Loaded(capabilities=Capabilities(context_length=4096), memory=self.memory, seconds=0.1)

    def submit(self, active: ActiveRequest, load_seconds: float) -> None:
        self.requests[active.id] = active

    def has(self, active: ActiveRequest) -> bool:
        return active.id in self.requests

    def cancel(self, active: ActiveRequest) -> None:
        self.requests.pop(active.id, None)

    def grant(self, cache_bytes: int) -> None:
        self.grants.append(cache_bytes)

    def fail(self, error: LmxError) -> None:
        for active in self.requests.values():
            active.fail(error)
        self.requests.clear()

    async def leave(self, seconds: float) -> None:
        self.leaving = True
        self.end()

    def end(self, error: LmxError | None = None) -> None:
        if not self.ended.done():
            error = error or WorkerError("the model's process ended with exit code 0")
            self.fail(error)
            self.ended.set_result(error)


class FakeMachine:
    """Memory of `cap` bytes."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.device_memory: int | None = None

        self.uses: dict[int, ProcessUse] = {}
        self.pressure: Pressure = "normal"

    def room(self) -> MemoryBudget:
        return MemoryBudget(self.cap, pressure=self.pressure)

    def use(self, pid: int) -> ProcessUse:
        return self.uses.get(pid, ProcessUse(WEIGHTS + 50 * MB))


class Floor:
    """A pool, its workers in the order of their start, and its log."""

    def __init__(self, folder: Path, cap: int, **engine: Any) -> None:
        self.folder = folder
        self.workers: list[FakeWorker] = []
        self.lines: list[str] = []
        self.machine = FakeMachine(cap)
        self._number = 0
        incidents = Incidents(lambda name, log: self.lines.append(f"{name}: {log.message}"))
        self.settings = SettingsSource(Settings(engine=EngineSettings(warm_spare=False, **engine)))
        self.pool = Pool(
            self.settings,
            find=self.find,
            clear=lambda model: False,
            start=self.start,
            host=self.machine,
            measurements=Measurements(folder / "measured.json"),
            prefixes=folder / "prefix",
            incidents=incidents,
        )
        self.pool.accounts.backend = "cpu"

    def find(self, name: str) -> Model:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return Model(id=name, path=str(path), source="folder")

    def start(self, name: str) -> Awaitable[Any]:
        async def started() -> FakeWorker:
            self.workers.append(FakeWorker(1000 + len(self.workers)))
            return self.workers[-1]

        return started()

    def ask(self, model: str, **fields: Any) -> ActiveRequest:
        self._number += 1
        return self.pool.submit(Generate(id=f"r{self._number}", model=model, prompt=Text(text="x"), **fields))

    async def loaded(self, model: str) -> FakeWorker:
        """Load `model` for a request, which ends then."""
        active = self.ask(model)
        worker = await self.loading(model)
        worker.proceed.set()
        await until(lambda: self.states().get(model) == "ready")
        self.pool.release(active)
        await until(lambda: not worker.requests)
        return worker

    async def loading(self, model: str) -> FakeWorker:
        """Return the worker in which `model` is being loaded, as soon as there is one."""
        await until(lambda: any(w.alive and w.command and w.command.model == model for w in self.workers))
        return next(w for w in self.workers if w.alive and w.command and w.command.model == model)

    def states(self) -> dict[str, str]:
        return {instance.model: instance.state for instance in self.pool.instances()}


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition`, for five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
