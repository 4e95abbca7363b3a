"""Fakes under the real scheduler and its real effects.

They are a loop that the test drives, workers with scripted events, and a machine with a given memory. Nothing here
sleeps, starts a process or needs a running event loop.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import LmxError, WorkerError
from lmx_daemon.contract.generation.events import Ending, Event, Failed, Finished
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.contract.worker.messages import (
    Cancel,
    Capabilities,
    EngineKind,
    Grant,
    Heartbeat,
    Hello,
    Load,
    Loaded,
    LoadProgress,
    MemoryUse,
    Submit,
    ToWorker,
)
from lmx_daemon.memory.budget import MemoryBudget, Pressure, ProcessUse
from lmx_daemon.memory.oom_kills import OomKills
from lmx_daemon.residency.decisions.plan import Beat
from lmx_daemon.residency.decisions.scheduler import ResidencyScheduler
from lmx_daemon.residency.effects import Loop, ProcessEvents
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.pool import Pool
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.workers.programs import PROGRAMS, EngineProgram
from lmx_daemon.settings.schema import EngineSettings, Settings
from lmx_daemon.settings.source import SettingsSource

MB = 1024**2
GB = 1024**3
WEIGHTS = 100 * MB
ONE_FITS, TWO_FIT = 900 * MB, 1800 * MB
"""Bytes of memory that hold one model, and two."""
T = TypeVar("T")


class ManualLoop:
    """A `Loop` whose time and order the test controls. Queued work runs when the test calls `step` or `settle`."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._queue: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def now(self) -> float:
        """Return the virtual time."""
        return self.time

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Queue a coroutine, which must not suspend."""
        self._queue.append(lambda: finish(work))

    def soon(self, call: Callable[[], object]) -> None:
        """Queue a call, as an event that arrives from outside."""
        self._queue.append(call)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Queue a call for a later time."""
        heapq.heappush(self._timers, (self.time + seconds, next(self._number), call))

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Call `function` and return its result."""
        return function()

    def step(self) -> bool:
        """Run the next queued item. Return False if the queue was empty."""
        if not self._queue:
            return False
        self._queue.popleft()()
        return True

    def settle(self) -> None:
        """Run queued work until the queue is empty."""
        while self.step():
            pass

    def advance(self, seconds: float) -> None:
        """Advance the virtual time, and run the timers that are due."""
        end = self.time + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            self.time, _, call = heapq.heappop(self._timers)
            call()
            self.settle()
        self.time = end


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that does not suspend."""
    try:
        work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    work.close()
    raise AssertionError("the coroutine suspended")


class FakeWorker:
    """A worker process whose events the test scripts: `hello`, `load`, `fail_load`, `emit`, `end`."""

    def __init__(self, pid: int, loop: Loop) -> None:
        self.name = ""
        self.kind: EngineKind = "text"
        self.pid = pid
        self.memory = MemoryUse(active=WEIGHTS, weights=WEIGHTS, resident=WEIGHTS + 50 * MB)
        self.heartbeat = Heartbeat(steps=0, busy=False)
        self.hello: Hello | None = greeting(pid)
        self.sent: list[ToWorker] = []
        """Messages from the daemon."""
        self.leaving = False
        """Whether the daemon has asked the worker to leave."""
        self.stays = False
        """Whether the worker runs until `end` is called, even after it was asked to leave."""
        self.last_beat: Beat | None = None
        """What `beat` returns; None stands for an idle worker that has just sent a heartbeat."""
        self.error: LmxError | None = None
        self.events: ProcessEvents | None = None
        self.instance = ""
        self._loop = loop

    @property
    def alive(self) -> bool:
        """Return whether the process has not ended."""
        return self.error is None

    def beat(self) -> Beat:
        """Return `last_beat`."""
        now = self._loop.now()
        return self.last_beat or Beat(now, now, False)

    def assign(self, instance: str, model: str, events: ProcessEvents) -> None:
        """Give the worker to an instance."""
        self.name, self.instance, self.events = model, instance, events

    def send(self, message: ToWorker) -> None:
        """Record a message from the daemon."""
        self.sent.append(message)

    async def leave(self, seconds: float) -> None:
        """End, unless `stays`."""
        self.leaving = True
        if not self.stays:
            self.end()

    # ---- what the test reads ----

    @property
    def command(self) -> Load | None:
        """The load command, if it was sent."""
        return next((message for message in self.sent if isinstance(message, Load)), None)

    @property
    def submitted(self) -> list[str]:
        """Ids of the requests that were sent."""
        return [message.request.id for message in self.sent if isinstance(message, Submit)]

    @property
    def cancelled(self) -> list[str]:
        """Ids of the requests that were cancelled."""
        return [message.id for message in self.sent if isinstance(message, Cancel)]

    @property
    def grants(self) -> list[int]:
        """Bytes that were granted for keys and values."""
        return [message.cache_bytes for message in self.sent if isinstance(message, Grant)]

    # ---- what the test scripts ----

    def greet(self, hello: Hello | None = None) -> None:
        """Report the end of the imports."""
        assert self.events is not None
        self.hello = hello or greeting(self.pid)
        self.events.on_hello(self.instance)

    def progress(self, stage: str, fraction: float | None) -> None:
        """Report a step of the load."""
        assert self.events is not None
        self.events.on_load_progress(self.instance, LoadProgress(stage=stage, fraction=fraction))

    def load(self) -> None:
        """Report the end of the load."""
        assert self.events is not None and self.command is not None
        loaded = Loaded(capabilities=Capabilities(context_length=4096), memory=self.memory, seconds=0.1)
        self.events.on_loaded(self.instance, loaded)

    def fail_load(self, error: LmxError) -> None:
        """Report that the load failed."""
        assert self.events is not None
        self.events.on_load_failed(self.instance, error)

    def emit(self, *events: Event) -> None:
        """Report the events of an engine step."""
        assert self.events is not None
        self.events.on_events(self.instance, events)

    def finish(self, *ids: str) -> None:
        """End the named requests; without names, all that were sent."""
        reason = {name: "cancelled" if name in self.cancelled else "stop" for name in ids or self.submitted}
        self.emit(*(Finished(id=name, endings=(Ending(reason=why),)) for name, why in reason.items()))  # type: ignore[arg-type]

    def end(self, error: LmxError | None = None) -> None:
        """End the process."""
        if self.alive:
            self.error = error or WorkerError("the model's process ended with exit code 0")
            if self.events is not None:
                self.events.on_worker_ended(self.instance, self.error)


def greeting(pid: int, backend: str = "cpu", device_memory: int = 0) -> Hello:
    """Return the first message of a worker."""
    return Hello(protocol=1, engine="fake", pid=pid, backend=backend, device_memory=device_memory)


class FakeMachine:
    """A machine with memory of `cap` bytes. The kernel's counters are in `folder`."""

    def __init__(self, cap: int, folder: Path) -> None:
        self.cap = cap
        self.device_memory: int | None = None
        self.oom_kills = OomKills((), folder / "vmstat")
        self.uses: dict[int, ProcessUse] = {}
        self.pressure: Pressure = "normal"

    def room(self) -> MemoryBudget:
        """Return the memory that models share."""
        return MemoryBudget(self.cap, pressure=self.pressure)

    def use(self, pid: int) -> ProcessUse:
        """Return the memory that the system charges to a process."""
        return self.uses.get(pid, ProcessUse(WEIGHTS + 50 * MB))


class Harness:
    """A real pool over fake workers, on a loop that the test drives."""

    def __init__(
        self,
        folder: Path,
        cap: int,
        *,
        backend: str = "cpu",
        programs: Mapping[Any, EngineProgram] = PROGRAMS,
        **engine: Any,
    ) -> None:
        self.folder = folder
        self.kinds: dict[str, Any] = {}
        """Engine kinds by the name of the model; "text" for all others."""
        self.loop = ManualLoop()
        self.workers: list[FakeWorker] = []
        """All workers, in the order of their start."""
        self.lines: list[str] = []
        """Lines of the log."""
        self.machine = FakeMachine(cap, folder)
        self.start_error: LmxError | None = None
        """Error that the start of a worker raises."""
        self.silent_workers = False
        """Whether new workers send their first message only when the test calls `greet`."""
        self.staying_workers = False
        """Value of `stays` of new workers."""
        self.problem: str | None = None
        self._number = 0
        self.settings = SettingsSource(Settings(engine=EngineSettings(warm_spare=False, **engine)))
        self.pool = Pool(
            self.settings,
            find=self.find,
            clear=lambda model: False,
            start=self.start,
            host=self.machine,
            measurements=Measurements(folder / "measured.json"),
            prefixes=folder / "prefix",
            incidents=Incidents(lambda name, log: self.lines.append(f"{name}: {log.message}")),
            programs=programs,
            loop=self.loop,
        )
        if backend:
            self.pool.accounts.greet("text", greeting(0, backend))

    @property
    def scheduler(self) -> ResidencyScheduler:
        """The scheduler under test."""
        return self.pool._scheduler

    def find(self, name: str) -> Model:
        """Return the model of that name. Its folder is empty."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        kind = self.kinds.get(name, "text")
        return Model(id=name, path=str(path), source="folder", kind=kind, problem=self.problem)

    async def start(self, name: str, kind: EngineKind) -> Any:
        """Start a fake worker."""
        if self.start_error is not None:
            raise self.start_error
        worker = FakeWorker(1000 + len(self.workers), self.loop)
        worker.kind, worker.stays = kind, self.staying_workers
        if self.silent_workers:
            worker.hello = None
        self.workers.append(worker)
        return worker

    # ---- acts, each followed by all work that it queues ----

    def request(self, model: str, **fields: Any) -> ActiveRequest:
        """Send a request, and leave the work that it queues to the test."""
        self._number += 1
        return self.pool.submit(Generate(id=f"r{self._number}", model=model, prompt=Text(text="x"), **fields))

    def ask(self, model: str, **fields: Any) -> ActiveRequest:
        """Send a request."""
        active = self.request(model, **fields)
        self.loop.settle()
        return active

    def release(self, *actives: ActiveRequest) -> None:
        """Release requests, one after the other."""
        for active in actives:
            self.pool.release(active)
            self.loop.settle()

    def load(self, model: str, **fields: Any) -> None:
        """Load a model explicitly."""
        self.scheduler.on_load(LoadRequest(model=model, **fields), self.find(model))
        self.loop.settle()

    def tick(self, seconds: float = 0.5) -> None:
        """Advance the time, with an inspection each half second."""
        passed = 0.0
        while passed < seconds:
            self.loop.advance(0.5)
            self.scheduler.on_tick()
            self.loop.settle()
            passed += 0.5

    def loaded(self, model: str) -> FakeWorker:
        """Load `model` for a request, and end the request. Return the worker."""
        active = self.ask(model)
        worker = self.worker(model)
        worker.load()
        worker.finish(active.id)
        self.release(active)
        self.loop.advance(0.001)  # no two models were used at the same time
        return worker

    # ---- what the test reads ----

    def worker(self, model: str) -> FakeWorker:
        """Return the live worker that `model` is or was loaded in."""
        return next(w for w in self.workers if w.alive and w.name == model)

    def states(self) -> dict[str, str]:
        """Return the state of each model. Of two instances of a model, the newer one counts."""
        return {instance.model: instance.state for instance in self.pool.instances()}

    def instance(self, model: str) -> Instance:
        """Return the newest instance of `model`."""
        return [instance for instance in self.pool.instances() if instance.model == model][-1]

    def incidents(self) -> list[tuple[str, str]]:
        """Return the kind and the model of each incident, oldest first."""
        return [(found.kind, found.model) for found in self.pool.incidents.recent()]


def last_event(active: ActiveRequest) -> Event:
    """Return the last event of a request, and mark all its events as read."""
    return finish(active.take())[-1]


def error_code(active: ActiveRequest) -> str:
    """Return the code of the error that a request failed with."""
    event = last_event(active)
    assert isinstance(event, Failed)
    return event.error.code
