"""The scheduler's effects in the real world: worker processes, files, incidents, and tasks that wait for changes."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from lmx_daemon.contract.errors import LmxError, ModelLoadError
from lmx_daemon.contract.models import IncidentKind, Model
from lmx_daemon.contract.worker.messages import EngineKind, ToWorker
from lmx_daemon.memory.shape import read_shape
from lmx_daemon.residency.effects import Loop, Process, ProcessEvents, SchedulerEvents
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements


class WorkerProcess(Process, Protocol):
    """A worker process that can be acted on; see `worker.Worker`."""

    def assign(self, instance: str, model: str, events: ProcessEvents) -> None:
        """Give the process to an instance; from now on its messages are events of that instance."""

    def send(self, message: ToWorker) -> None:
        """Send a message. Raise RequestError if no frame can hold it."""

    async def leave(self, seconds: float) -> None:
        """Ask the process to leave, and wait for its end."""


class SpareWorkers(Protocol):
    """The warm spares; see `spare.Spares`."""

    def take(self, kind: EngineKind) -> Any:
        """Return the spare worker of a kind; None if there is none."""

    def prepare(self, *, when_calm: bool = False) -> None:
        """Start the spares that are missing."""


class ProcessEffects:
    """Implementation of `Effects`. `events`, the scheduler, is set once both exist."""

    events: SchedulerEvents

    def __init__(
        self,
        loop: Loop,
        *,
        start: Callable[[str, EngineKind], Awaitable[WorkerProcess]],
        spares: SpareWorkers,
        clear: Callable[[Model], bool],
        incidents: Incidents,
        measurements: Measurements,
    ) -> None:
        """Make effects without a scheduler.

        `start` starts a worker process for an engine kind, with a name for the log. `clear`, called in a thread,
        returns whether a model's own code may run, or raises UntrustedModelError.
        """
        self._loop = loop
        self._start = start
        self._spares = spares
        self._clear = clear
        self._incidents = incidents
        self._measurements = measurements
        self._workers: dict[str, WorkerProcess] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._loop.now()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` once `seconds` have passed."""
        self._loop.after(seconds, call)

    def inspect(self, instance: str, model: Model) -> None:
        """Read the model's files and check whether its code may run, in a thread."""
        self._loop.run(self._guarded(instance, model, self._inspect))

    def start(self, instance: str, model: Model) -> None:
        """Take the warm spare or start a process."""
        self._loop.run(self._guarded(instance, model, self._start_worker))

    def send(self, instance: str, message: ToWorker) -> None:
        """Send a message to the worker of an instance. Raise RequestError if no frame can hold it."""
        self._workers[instance].send(message)

    def leave(self, instance: str, seconds: float) -> None:
        """Ask the worker of an instance to leave."""
        self._loop.run(self._workers[instance].leave(seconds))

    def report(self, kind: IncidentKind, model: str, message: str) -> None:
        """Record an incident."""
        self._incidents.report(kind, model, message)

    def log(self, model: str, message: str) -> None:
        """Write a line to the log."""
        self._incidents.log(model, "info", message)

    def notify(self, instance: str) -> None:
        """Wake all tasks in `changed`."""
        for waiter in self._waiters.pop(instance, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, instance: str) -> None:
        """Wait for the next change of an instance."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(instance, []).append(waiter)
        await waiter

    def keep_measurements(self) -> None:
        """Write what loads have measured to disk, in a thread."""
        self._loop.run(self._loop.in_thread(partial(self._measurements.write, self._measurements.encoded())))

    def prepare_spares(self) -> None:
        """Start the warm spares that are missing, once the daemon is idle."""
        self._spares.prepare(when_calm=True)

    async def close(self, seconds: float) -> None:
        """Ask all workers to leave, and wait until they have ended."""
        await asyncio.gather(*(worker.leave(seconds) for worker in self._workers.values() if worker.alive))

    async def _guarded(
        self, instance: str, model: Model, work: Callable[[str, Model], Awaitable[Callable[[], None]]]
    ) -> None:
        """Do the slow `work`, which returns the event to deliver. An error of it is the failure of the load."""
        try:
            event = await work(instance, model)
        except LmxError as error:
            self.events.on_load_failed(instance, error)
        except OSError as error:
            self.events.on_load_failed(instance, ModelLoadError(f"{model.id} cannot be loaded: {error}"))
        except Exception:  # an error of the daemon's own goes to the log; no request may wait for ever
            failure = ModelLoadError(f"{model.id} cannot be loaded", hint="the log has the reason")
            self.events.on_load_failed(instance, failure)
            raise
        else:
            event()

    async def _inspect(self, instance: str, model: Model) -> Callable[[], None]:
        trusted = await self._loop.in_thread(lambda: self._clear(model))
        shape = await self._loop.in_thread(lambda: read_shape(Path(model.path)))
        return partial(self.events.on_inspected, instance, shape, trusted)

    async def _start_worker(self, instance: str, model: Model) -> Callable[[], None]:
        spare: WorkerProcess | None = self._spares.take(model.kind)
        worker = spare or await self._start(model.id, model.kind)
        return partial(self._hand_over, instance, model, worker)

    def _hand_over(self, instance: str, model: Model, worker: WorkerProcess) -> None:
        self._workers = {name: known for name, known in self._workers.items() if known.alive} | {instance: worker}
        worker.assign(instance, model.id, self.events)
        self.events.on_started(instance, worker)
        if worker.hello is not None:
            self.events.on_hello(instance)
