"""Feed: keeps the connection to the daemon, and posts snapshots as messages.

Only the feed, the app and its calls use the Client. The feed draws nothing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from textual.message import Message

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.snapshot import Status
from lmx_daemon.contract.errors import ErrorBody, LmxError
from lmx_tui.messages import Connection, ConnectionChanged, SnapshotArrived

DRAIN_SECONDS = 1.0
"""Interval between attempts while the daemon finishes its last answers."""
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Delays between connection attempts; the last one repeats."""

Starter = Callable[[], Awaitable[Status]]
"""Function that finds a daemon or starts one. Raises LmxError."""


class Feed:
    """The connection to the daemon, which reconnects until its task is cancelled."""

    def __init__(
        self,
        client: Client,
        post: Callable[[Message], object],
        *,
        clock: Callable[[], float],
        start: Starter | None = None,
        retries: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        """With `start` None, the feed waits for a daemon and starts none."""
        self._client = client
        self._post = post
        self._clock = clock
        self._start = start
        self._retries = retries
        self._wake = asyncio.Event()
        self._start_requested = start is not None
        self._online = False
        self._start_failed: ErrorBody | None = None

    def start_now(self) -> None:
        """Start a daemon if none runs, and connect at once."""
        self._start_requested = True
        self._wake.set()

    async def run(self) -> None:
        """Connect, post snapshots, and connect again after each interruption. Does not return."""
        failures = 0
        self._post(ConnectionChanged(Connection("connecting")))
        while True:
            error = ErrorBody(code="daemon_unreachable", message="the daemon closed the connection")
            try:
                await self._start_once()
                draining = False
                async for snapshot in self._client.watch():
                    if not self._online:
                        self._online, failures, self._start_failed = True, 0, None
                        self._post(ConnectionChanged(Connection("online")))
                    draining = snapshot.status.draining
                    self._post(SnapshotArrived(snapshot))
                if draining:
                    # A draining daemon ends the watch but still finishes answers until its socket closes.
                    await self._pause(DRAIN_SECONDS)
                    continue
            except LmxError as raised:
                error = raised.body()
                if error.code == "daemon_unreachable" and self._start_failed is not None:
                    error = self._start_failed  # the reason why no daemon answers
            except Exception as raised:  # the TUI's worker edge: a feed that ends would freeze the screen
                error = ErrorBody(code="internal_error", message=f"{type(raised).__name__}: {raised}")
            self._online = False
            seconds = self._retries[min(failures, len(self._retries) - 1)]
            failures += 1
            self._post(ConnectionChanged(Connection("offline", error, self._clock() + seconds)))
            await self._pause(seconds)
            self._post(ConnectionChanged(Connection("offline", error)))

    async def _start_once(self) -> None:
        if self._start_requested and self._start is not None:
            self._start_requested, self._start_failed = False, None
            try:
                await self._start()
            except LmxError as error:
                self._start_failed = error.body()
                raise

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
