"""A driver of one real worker process without a scheduler: it loads a model and sends requests."""

import asyncio
from collections.abc import Sequence

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.worker.messages import Cancel, Load, Loaded, LoadProgress, Submit
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.requests.observers import Observers
from lmx_daemon.residency.requests.request_registry import RequestRegistry
from lmx_daemon.residency.workers.worker import Worker

INSTANCE = "driven:1"


class Driver:
    """Receiver of the events of one worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._requests = RequestRegistry(lambda active: worker.send(Cancel(id=active.id)), Observers())
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        worker.assign(INSTANCE, worker.name, self)

    async def load(self, command: Load) -> Loaded:
        """Load a model. Raise the error of the load."""
        await self.worker.ready()
        self.worker.send(command)
        return await self._loaded

    def submit(self, request: Request) -> ActiveRequest:
        """Send a request."""
        active = self._requests.open(request, INSTANCE)
        self.worker.send(Submit(request=request))
        active.at_worker = True
        return active

    def on_hello(self, instance: str) -> None:
        """Do nothing: `load` waits for it."""

    def on_load_progress(self, instance: str, progress: LoadProgress) -> None:
        """Do nothing."""

    def on_loaded(self, instance: str, loaded: Loaded) -> None:
        """Complete `load`."""
        self._loaded.set_result(loaded)

    def on_load_failed(self, instance: str, error: LmxError) -> None:
        """Fail `load`."""
        if not self._loaded.done():
            self._loaded.set_exception(error)
            self._loaded.exception()  # there may be no reader

    def on_events(self, instance: str, events: Sequence[Event]) -> None:
        """Deliver the events."""
        self._requests.deliver(instance, events)

    def on_worker_ended(self, instance: str, error: LmxError) -> None:
        """Fail the load and all open requests."""
        self.on_load_failed(instance, error)
        self._requests.end(instance, error)
