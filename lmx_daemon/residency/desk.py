"""The desk: every request that is under way, and those that ended a moment ago. What it costs goes to the log.

It knows tickets, not workers: what a cancelled ticket means is told to it by the pool.
"""

import time
from collections import deque
from collections.abc import Callable

import msgspec

from lmx_daemon.contract.errors import ConflictError, LmxError, RequestNotFoundError
from lmx_daemon.contract.frames import Log
from lmx_daemon.contract.generation import Request
from lmx_daemon.contract.types import RequestRow
from lmx_daemon.residency.journal import OnLog
from lmx_daemon.residency.ticket import Ticket

RECENT_SECONDS = 10.0
"""So long a request that has ended stays in the monitor's table."""


class Desk:
    """Owned by the pool."""

    def __init__(self, on_cancel: Callable[[Ticket], None], on_log: OnLog) -> None:
        self._on_cancel = on_cancel
        self._on_log = on_log
        self._tickets: dict[str, Ticket] = {}
        self._abandoned: dict[str, Ticket] = {}
        """Released before they ended: the worker still has to say so, and until then their ids are taken."""
        self._recent: deque[tuple[float, RequestRow]] = deque(maxlen=50)

    def open(self, request: Request, instance: str) -> Ticket:
        if self.knows(request.id):
            raise ConflictError(f"a request with the id {request.id} is running already", param="id")
        ticket = self._tickets[request.id] = Ticket(request, self._on_cancel)
        ticket.instance = instance
        return ticket

    def release(self, ticket: Ticket) -> None:
        """The one who asked is done with it; a request that still runs is cancelled."""
        ticket.cancel()
        if self._tickets.pop(ticket.id, None) is not None:
            row = ticket.row()
            if not ticket.closed:
                row = msgspec.structs.replace(row, state="cancelled")
                self._abandoned = {i: t for i, t in self._abandoned.items() if not t.closed} | {ticket.id: ticket}
            self._recent.append((time.monotonic(), row))
            self._on_log(row.model, Log(level="info", message=summary(row), request=row.id))

    def cancel(self, request_id: str) -> None:
        """Idempotent: one that has just ended is cancelled well enough. Raises RequestNotFoundError."""
        ticket = self._tickets.get(request_id)
        if ticket is None:
            if any(row.id == request_id for _, row in self._recent):
                return
            raise RequestNotFoundError(f"no request with the id {request_id} is running")
        ticket.cancel()

    def knows(self, request_id: str) -> bool:
        abandoned = self._abandoned.get(request_id)
        return request_id in self._tickets or (abandoned is not None and not abandoned.closed)

    def rows(self) -> list[RequestRow]:
        """Live requests, oldest first."""
        return [ticket.row() for ticket in self._tickets.values() if not ticket.closed]

    def recent_rows(self) -> list[RequestRow]:
        """Those that ended a moment ago."""
        now = time.monotonic()
        return [row for ended, row in self._recent if now - ended < RECENT_SECONDS]

    def busy(self) -> bool:
        return any(not ticket.closed for ticket in self._tickets.values())

    def fail(self, error: LmxError) -> None:
        """Everything that is under way fails."""
        for ticket in list(self._tickets.values()):
            ticket.fail(error)

    def unread(self, seconds: float) -> list[Ticket]:
        """Tickets whose events have waited for a reader for longer than `seconds`."""
        return [ticket for ticket in self._tickets.values() if ticket.unread_for() > seconds]


def summary(row: RequestRow) -> str:
    """One line for the log: what a request cost, and never what it said."""
    parts = [f"{row.route} from {row.client or row.tenant}: {row.state} after {row.age:.2f} s"]
    if row.prompt_tokens is not None:
        place = "" if row.first_difference is None else f", at token {row.first_difference}"
        where = f"; {row.miss}{place}" if row.miss else ""
        parts.append(f"{row.prompt_tokens} prompt tokens ({row.cached_tokens or 0} cached{where})")
    parts.append(f"{row.completion_tokens} tokens")
    if row.rate:
        parts.append(f"{row.rate:.1f} tok/s")
    if row.error is not None:
        parts.append(f"{row.error.code}: {row.error.message}")
    return ", ".join(parts)
