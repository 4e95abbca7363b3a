"""Scans of the model roots: one at a time, shared by all callers, in a thread that may hang without harm.

A scan without progress is abandoned with its thread, and its root is left out until that thread returns, so that each
root costs one thread at most. This module does not depend on models.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress

EVERY_SECONDS = 1.0
"""Upper bound on the time between the starts of two scans that are requested without a pause."""
SCAN_SHARE = 0.05
"""Share of the time that scans take at most, unless they are urgent or EVERY_SECONDS apart."""
HUNG_SECONDS = 20.0
"""Time without progress after which a scan is abandoned."""


class Scan:
    """Running scan. Its thread calls `enter` for each root and `progress` for each model."""

    def __init__(self, left_out: frozenset[Hashable]) -> None:
        self.left_out = left_out
        """Roots in which an earlier scan still hangs."""
        self.abandoned = False
        self.root: Hashable = None
        self.hung_at: Hashable = None
        """The root at which the scan was abandoned. Its thread may continue later and leave that root."""
        self.progressed_at = time.monotonic()

    def enter(self, root: Hashable) -> None:
        """Record that the scan now reads `root`."""
        self.root = root
        self.progress()

    def progress(self) -> None:
        """Record that the scan makes progress."""
        self.progressed_at = time.monotonic()


class Scanner:
    """Runs scans. `work` performs one; its result counts only if the scan is not abandoned."""

    def __init__(self, work: Callable[[Scan], None], hung_seconds: float = HUNG_SECONDS) -> None:
        self._work = work
        self._hung_seconds = hung_seconds
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._running: Scan | None = None
        self._wanted: Future[None] | None = None
        """The end of the next scan, shared by all requests since the last one began."""
        self._served: Future[None] | None = None
        """The end of the running scan."""
        self._urgent = False
        self._begun_at = -EVERY_SECONDS
        self._pause = EVERY_SECONDS
        """Shortest time between the start of the last scan and that of the next one."""
        self._hung: set[Hashable] = set()

    def request(self, urgent: bool) -> "Future[None]":
        """Return the end of a scan that begins after this call, as a future. Never blocks.

        Callers wait with a limit and do not cancel the future. Unless it is `urgent`, the scan begins
        EVERY_SECONDS after the last one, or earlier if the last one was short: see SCAN_SHARE.
        """
        with self._changed:
            self._abandon_hung()
            wanted = self._wanted = self._wanted or Future()
            self._urgent |= urgent
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="library-scan", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return wanted

    def running(self, seconds: float) -> "Future[None] | None":
        """Return the end of the running scan if it began less than `seconds` ago, as a future; else None."""
        with self._changed:
            recent = self._running is not None and time.monotonic() - self._begun_at < seconds
            return self._served if recent else None

    def _abandon_hung(self) -> None:
        scan = self._running
        if scan is None or time.monotonic() - scan.progressed_at < self._hung_seconds or scan.root in self._hung:
            return
        logging.getLogger("lmx.library").warning(
            "%s does not answer; its models are listed from the last scan until it does", scan.root
        )
        scan.abandoned, scan.hung_at = True, scan.root
        self._hung.add(scan.root)
        self._running = self._thread = None

    def _run(self) -> None:
        while (begun := self._begin()) is not None:
            scan, served = begun
            try:
                self._work(scan)
            except BaseException as error:  # the top of a thread: the callers get the error
                served.set_exception(error)
            else:
                served.set_result(None)
            with self._changed:
                if scan.abandoned:
                    self._hung.discard(scan.hung_at)
                    return
                self._running = None
                self._pause = min(EVERY_SECONDS, (time.monotonic() - self._begun_at) / SCAN_SHARE)

    def _begin(self) -> "tuple[Scan, Future[None]] | None":
        """Wait until the next scan may begin, and return it, or None if none is requested: the thread then ends."""
        with self._changed:
            while self._wanted is not None:
                delay = 0.0 if self._urgent else self._begun_at + self._pause - time.monotonic()
                if delay <= 0:
                    served, self._wanted, self._urgent = self._wanted, None, False
                    self._begun_at, self._pause = time.monotonic(), EVERY_SECONDS
                    self._running, self._served = Scan(frozenset(self._hung)), served
                    return self._running, served
                self._changed.wait(delay)
            self._thread = None
            return None


def wait_for(scan: "Future[None]", seconds: float) -> None:
    """Block until a scan has ended, at most for `seconds`. Raises the error of the scan."""
    with suppress(TimeoutError):
        scan.result(seconds)
