"""The request observer that keeps a record of each request that has ended.

The event loop appends the record to a list. One thread writes the list several times a second, so that a busy daemon
has few transactions. `kill -9` loses at most that list.
"""

import asyncio
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from lmx_daemon.contract.admin.history import Grouping, RequestRecord, RequestTotals
from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.allowance import Allowance
from lmx_daemon.contract.errors import DiskError, RequestNotFoundError
from lmx_daemon.contract.generation.events import Event, Started
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.history.records import record_of
from lmx_daemon.history.store import Criteria, HistoryStore, Written
from lmx_daemon.settings.sections.history import HistorySettings

T = TypeVar("T")
WRITE_SECONDS = 0.25
"""Time for which records are collected before they are written together."""
PRUNE_SECONDS = 3600.0
"""Time after which an idle daemon drops what has become too old."""
MAX_WAITING = 10_000
"""Number of records that wait for the disk; further ones are lost."""
QUIET_SECONDS = 60.0
"""Shortest time between two warnings about records that cannot be written."""
MAX_REFUSED = 10
"""Records of refused requests a second. A flood of them must not displace the records of others."""
CLOSE_SECONDS = 3.0
SEPARATOR = re.compile(r"[-_]")
"""Separator between the prefix of an answer's id and the id of its request."""
LOGGER = logging.getLogger("lmx.history")


class History:
    """The records of requests. One thread writes them; any thread reads them."""

    observes_events = False

    def __init__(
        self, store: HistoryStore, settings: Callable[[], HistorySettings], dialect_of: Callable[[str], str]
    ) -> None:
        """Build a history without a thread. `dialect_of` returns the name of the dialect that owns a route."""
        self._store, self._settings, self._dialect_of = store, settings, dialect_of
        self._waiting: deque[tuple[RequestRow, Request | None]] = deque()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self._refusals = Allowance(MAX_REFUSED, time.monotonic)
        self._lost = 0
        self._warned = -QUIET_SECONDS
        self._thread = threading.Thread(target=self._run, name="lmx-history", daemon=True)

    def open(self) -> None:
        """Start the thread. It is called once the servers answer, so that the file does not delay the start."""
        self._thread.start()

    def queued(self, request: Request) -> None:
        """Keep nothing."""

    def started(self, request: Request, event: Started) -> None:
        """Keep nothing."""

    def event(self, request: Request, event: Event) -> None:
        """Keep nothing."""

    def ended(self, request: Request, row: RequestRow) -> None:
        """Keep the record of the request until the thread writes it."""
        settings = self._settings()
        if not settings.enabled:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append((row, request if row.state == "failed" and settings.failed_requests else None))
        self._wake.set()

    def refused(self, request: Request, row: RequestRow) -> None:
        """Keep the record of a refused request, up to MAX_REFUSED a second."""
        if self._refusals.take():
            self.ended(request, row)

    async def find(self, criteria: Criteria, limit: int) -> list[RequestRecord]:
        """Return the newest records that fulfil the criteria, oldest first. Raise DiskError."""
        return await asyncio.to_thread(self._read, lambda: self._store.find(criteria, limit))

    async def get(self, identity: str) -> tuple[RequestRecord, bytes | None]:
        """Return the newest record whose id begins with `identity`, and the request as JSON if it is kept.

        The id of an answer, such as "chatcmpl-" and the id of its request, is accepted as well. Raise
        RequestNotFoundError, or DiskError.
        """
        for name in dict.fromkeys((identity, SEPARATOR.split(identity)[-1])):
            found = await asyncio.to_thread(self._read, partial(self._store.get, name)) if name else None
            if found is not None:
                return found
        raise RequestNotFoundError(
            f"there is no record of a request {identity[:100]!r}",
            hint="`lmx requests` lists the records; they are kept for [history] days, and of refused requests only "
            f"{MAX_REFUSED} a second are recorded",
        )

    async def totals(self, by: Grouping, criteria: Criteria) -> list[RequestTotals]:
        """Return the sums over the records of each model, key or day. Raise DiskError."""
        return await asyncio.to_thread(self._read, lambda: self._store.totals(by, criteria))

    async def clear(self) -> int:
        """Delete all records. Return their number. Raise DiskError."""
        return await asyncio.to_thread(self._read, self._store.clear)

    async def close(self) -> None:
        """Write the waiting records and end the thread. The wait is bounded, since a disk may not answer."""
        self._ended = True
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    def write(self) -> None:
        """Write the waiting records. Those that cannot be written are lost, and the log states their number."""
        with self._writing:
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not waiting:
                return
            try:
                self._store.add([self._entry(row, request) for row, request in waiting])
            except DiskError as error:
                self._lost += len(waiting)
                self._warn(error)

    def _entry(self, row: RequestRow, request: Request | None) -> Written:
        return Written(record_of(row, self._dialect_of), None if request is None else msgspec.json.encode(request))

    def _warn(self, error: DiskError) -> None:
        now = time.monotonic()
        if now - self._warned >= QUIET_SECONDS:
            self._warned = now
            LOGGER.warning("%s; %d records of requests are lost", error.message, self._lost)
            self._lost = 0

    def _read(self, read: Callable[[], T]) -> T:
        """Write the waiting records, then return the result of `read`."""
        self.write()
        return read()

    def _run(self) -> None:
        """Write until `close`."""
        self._attempt(self._store.prune)
        while not self._ended:
            idle = not self._wake.wait(PRUNE_SECONDS)
            self._wake.clear()
            if not self._ended and not idle:
                time.sleep(WRITE_SECONDS)
            self._attempt(self._store.prune if idle else self.write)
        self._attempt(self.write)
        self._store.close()

    def _attempt(self, act: Callable[[], None]) -> None:
        """Call `act`. An error must not end the thread: later records would fill the memory."""
        try:
            act()
        except DiskError as error:
            self._warn(error)
        except Exception:  # a boundary: the top of the thread
            LOGGER.exception("records of requests were not written")
