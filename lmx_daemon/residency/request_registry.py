"""All requests that are under way, and those that ended a moment ago. Observers are notified of each one's life.

The registry has no reference to workers: `on_cancel` carries a cancellation out.
"""

import time
from collections import deque
from collections.abc import Callable

import msgspec

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import ConflictError, LmxError, RequestNotFoundError
from lmx_daemon.contract.requests import Request
from lmx_daemon.residency.active_request import ActiveRequest
from lmx_daemon.residency.observers import Observers

RECENT_SECONDS = 10.0
"""So long a request that has ended stays in the monitor's table."""


class RequestRegistry:
    """Owned by the pool."""

    def __init__(self, on_cancel: Callable[[ActiveRequest], None], observers: Observers) -> None:
        self._on_cancel = on_cancel
        self._observers = observers
        self._active: dict[str, ActiveRequest] = {}
        self._abandoned: dict[str, ActiveRequest] = {}
        """Released before they ended: the worker still has to say so, and until then their ids are taken."""
        self._recent: deque[tuple[float, RequestRow]] = deque(maxlen=50)

    def open(self, request: Request, instance: str) -> ActiveRequest:
        if self.has(request.id):
            raise ConflictError(f"a request with the id {request.id} is running already", param="id")
        active = self._active[request.id] = ActiveRequest(request, self._on_cancel, self._observers)
        active.instance = instance
        self._observers.queued(request)
        return active

    def release(self, active: ActiveRequest) -> None:
        """The one who asked is done with it; a request that still runs is cancelled."""
        active.cancel()
        if self._active.pop(active.id, None) is not None:
            row = active.row()
            if not active.closed:
                row = msgspec.structs.replace(row, state="cancelled")
                self._abandoned = {i: a for i, a in self._abandoned.items() if not a.closed} | {active.id: active}
            self._recent.append((time.monotonic(), row))
            self._observers.ended(active.request, row)

    def cancel(self, request_id: str) -> None:
        """Idempotent: one that has just ended is cancelled well enough. Raises RequestNotFoundError."""
        active = self._active.get(request_id)
        if active is None:
            if any(row.id == request_id for _, row in self._recent):
                return
            raise RequestNotFoundError(f"no request with the id {request_id} is running")
        active.cancel()

    def has(self, request_id: str) -> bool:
        abandoned = self._abandoned.get(request_id)
        return request_id in self._active or (abandoned is not None and not abandoned.closed)

    def rows(self) -> list[RequestRow]:
        """Live requests, oldest first."""
        return [active.row() for active in self._active.values() if not active.closed]

    def recent_rows(self) -> list[RequestRow]:
        """Those that ended a moment ago."""
        now = time.monotonic()
        return [row for ended, row in self._recent if now - ended < RECENT_SECONDS]

    def busy(self) -> bool:
        return any(not active.closed for active in self._active.values())

    def fail(self, error: LmxError) -> None:
        """Everything that is under way fails."""
        for active in list(self._active.values()):
            active.fail(error)

    def unread(self, seconds: float) -> list[ActiveRequest]:
        """Requests whose events have waited for a reader for longer than `seconds`."""
        return [active for active in self._active.values() if active.unread_for() > seconds]
