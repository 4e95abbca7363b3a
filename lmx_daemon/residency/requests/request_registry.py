"""The registry of requests: the only place that holds them.

A request stays until its reader and its worker have finished with it. Observers are notified of the life of each.

The registry has no reference to workers: `on_cancel` carries a cancellation out.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import ConflictError, LmxError, RequestNotFoundError
from lmx_daemon.contract.generation.events import Event, is_terminal
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.residency.requests.observers import Observers

RECENT_SECONDS = 10.0
"""Time for which a request that has ended stays in the monitor's table."""
MAX_RECENT = 50
"""Number of ended requests in the monitor's table, at most."""


class RequestRegistry:
    """All requests of the daemon, by instance and id."""

    def __init__(
        self,
        on_cancel: Callable[[ActiveRequest], None],
        observers: Observers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_cancel = on_cancel
        self._observers = observers
        self._clock = clock
        self._records: dict[str, dict[str, ActiveRequest]] = {}
        self._instances: set[str] = set()
        self._recent: deque[tuple[float, RequestRow]] = deque(maxlen=MAX_RECENT)

    def of(self, instance: str) -> Mapping[str, ActiveRequest]:
        """Return a live view of the requests of an instance, until `forget`."""
        self._instances.add(instance)
        return self._records.setdefault(instance, {})

    def check_new(self, request_id: str) -> None:
        """Raise ConflictError if a request with this id is under way."""
        if self.has(request_id):
            raise ConflictError(f"a request with the id {request_id} is running already", param="id")

    def open(self, request: Request, instance: str) -> ActiveRequest:
        """Return the record of a new request. Raise ConflictError if its id is taken."""
        self.check_new(request.id)
        active = ActiveRequest(request, self._on_cancel, self._observers, self._clock)
        active.instance = instance
        self._records.setdefault(instance, {})[request.id] = active
        self._observers.queued(request)
        return active

    def refuse(self, request: Request, error: LmxError) -> None:
        """Notify the observers of a request that is not queued because of `error`."""
        active = ActiveRequest(request, lambda _: None, clock=self._clock)
        active.fail(error)
        self._observers.refused(request, active.row())

    def deliver(self, instance: str, events: Sequence[Event]) -> bool:
        """Give each event to its request, if the instance's worker holds it. Return whether a request ended."""
        records, ended = self._records.get(instance, {}), False
        for event in events:
            active = records.get(event.id)
            if active is None or not active.at_worker:
                continue
            if is_terminal(event):
                active.at_worker, ended = False, True
            active.put(event)
            if active.released:
                self._drop(active)
        return ended

    def end(self, instance: str, error: LmxError) -> None:
        """Fail all requests of an instance whose worker has ended or is to leave."""
        for active in list(self._records.get(instance, {}).values()):
            active.at_worker = False
            active.fail(error)
            self._drop(active)

    def release(self, active: ActiveRequest) -> None:
        """Note that the reader has finished with the request. A request that still runs is cancelled."""
        active.cancel()
        if active.released:
            return
        active.released = True
        row = active.row()
        if not active.closed:
            row = msgspec.structs.replace(row, state="cancelled", timings=active.timings())
        self._recent.append((self._clock(), row))
        self._observers.ended(active.request, row)
        self._drop(active)

    def cancel(self, request_id: str) -> None:
        """Cancel a request by its id. Has no effect if it has just ended. Raise RequestNotFoundError."""
        active = self.find(request_id)
        if active is not None and not active.released:
            active.cancel()
        elif not any(row.id == request_id for _, row in self._recent):
            raise RequestNotFoundError(f"no request with the id {request_id} is running")

    def find(self, request_id: str) -> ActiveRequest | None:
        """Return the request with this id; None if there is none."""
        return next((found[request_id] for found in self._records.values() if request_id in found), None)

    def has(self, request_id: str) -> bool:
        """Return whether the id is taken: also by a request that was released before its worker confirmed its end."""
        return self.find(request_id) is not None

    def rows(self) -> list[RequestRow]:
        """Return the rows of live requests, oldest first."""
        live = [active for active in self._all() if not active.closed and not active.released]
        return [active.row() for active in sorted(live, key=lambda active: active.arrived)]

    def recent_rows(self) -> list[RequestRow]:
        """Return the rows of requests that ended within RECENT_SECONDS."""
        now = self._clock()
        return [row for ended, row in self._recent if now - ended < RECENT_SECONDS]

    def busy(self) -> bool:
        """Return whether a reader waits for the end of a request."""
        return any(not active.closed and not active.released for active in self._all())

    def fail(self, error: LmxError) -> None:
        """Fail all requests that are under way."""
        for active in list(self._all()):
            active.fail(error)

    def unread(self, seconds: float) -> list[ActiveRequest]:
        """Return the requests whose events have waited for a reader for longer than `seconds`."""
        return [active for active in self._all() if not active.released and active.unread_for() > seconds]

    def forget(self, instance: str) -> None:
        """Note that an instance has gone. Its requests stay until they are released."""
        self._instances.discard(instance)
        if not self._records.get(instance, True):
            del self._records[instance]

    def _all(self) -> Iterator[ActiveRequest]:
        return (active for records in self._records.values() for active in records.values())

    def _drop(self, active: ActiveRequest) -> None:
        if active.under_way or not active.released:
            return
        records = self._records.get(active.instance, {})
        records.pop(active.id, None)
        if not records and active.instance not in self._instances:
            self._records.pop(active.instance, None)
