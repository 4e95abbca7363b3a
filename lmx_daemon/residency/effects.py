"""The scheduler's whole window on the world, as protocols: what it may do, what it is notified of, and the loop.

`process_effects.py` implements `Effects` with worker processes, `background.py` implements `Loop` with asyncio.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.models import IncidentKind, Model
from lmx_daemon.contract.worker.messages import Heartbeat, Hello, Loaded, LoadProgress, MemoryUse, ToWorker
from lmx_daemon.memory.shape import ModelShape
from lmx_daemon.residency.decisions.plan import Beat

T = TypeVar("T")


class Process(Protocol):
    """A worker process as the scheduler sees it: the facts that it reported last."""

    memory: MemoryUse
    heartbeat: Heartbeat
    hello: Hello | None
    """None until its imports are done."""

    @property
    def pid(self) -> int:
        """Id of the process."""

    @property
    def alive(self) -> bool:
        """Return whether the process has not ended."""

    def beat(self) -> Beat:
        """Return what is known of its progress."""


class Effects(Protocol):
    """Actions of the scheduler. No method waits, and none calls the scheduler before it returns."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in the loop, once `seconds` have passed."""

    def inspect(self, instance: str, model: Model) -> None:
        """Read the model's files and check whether its code may run: `on_inspected` or `on_load_failed` follows."""

    def start(self, instance: str, model: Model) -> None:
        """Take the warm spare or start a process: `on_started` and `on_hello`, or `on_load_failed`, follow."""

    def send(self, instance: str, message: ToWorker) -> None:
        """Send a message to the worker of an instance. Raise RequestError if no frame can hold it."""

    def leave(self, instance: str, seconds: float) -> None:
        """Ask the worker of an instance to leave: `on_worker_ended` follows.

        The process gets SIGTERM and SIGKILL, `seconds` after each other, if it does not leave.
        """

    def report(self, kind: IncidentKind, model: str, message: str) -> None:
        """Record an incident."""

    def log(self, model: str, message: str) -> None:
        """Write a line to the log."""

    def notify(self, instance: str) -> None:
        """Wake all tasks that wait for a change of an instance."""

    def keep_measurements(self) -> None:
        """Write what loads have measured to disk."""

    def prepare_spares(self) -> None:
        """Start the warm spares that are missing, once the daemon is idle."""


class ProcessEvents(Protocol):
    """Events of a worker process. Each event names the instance that the process was given to."""

    def on_hello(self, instance: str) -> None:
        """Handle the end of the imports; `hello` of the process is set."""

    def on_load_progress(self, instance: str, progress: LoadProgress) -> None:
        """Handle a step of a load."""

    def on_loaded(self, instance: str, loaded: Loaded) -> None:
        """Handle the end of a load."""

    def on_load_failed(self, instance: str, error: LmxError) -> None:
        """Handle a failure before or during a load."""

    def on_events(self, instance: str, events: Sequence[Event]) -> None:
        """Handle all events of one engine step."""

    def on_worker_ended(self, instance: str, error: LmxError) -> None:
        """Handle the end of the process; `error` is its cause."""


class SchedulerEvents(ProcessEvents, Protocol):
    """Events that `Effects` report back to the scheduler."""

    def on_inspected(self, instance: str, shape: ModelShape, trusted: bool) -> None:
        """Handle the end of `inspect`."""

    def on_started(self, instance: str, process: Process) -> None:
        """Handle a process that was started for an instance."""


class Loop(Protocol):
    """The one loop in which all events are handled."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def run(self, work: Coroutine[Any, Any, Any]) -> object:
        """Run a coroutine in the background; it does not begin before this returns."""

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` once `seconds` have passed."""

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Return what `function` returns in a thread of its own."""
        ...
