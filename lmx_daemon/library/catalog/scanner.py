"""Scans of the models' places: one at a time, shared by all that ask, in a thread that may hang without harm.

A scan that makes no progress is abandoned with its thread, and its place is left out until that thread returns: each
place costs one thread at most. It has no knowledge of models.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress

EVERY_SECONDS = 1.0
"""Time between the starts of two scans that nobody needs sooner."""
HUNG_SECONDS = 20.0
"""A scan without progress for this long is abandoned."""


class Scan:
    """One scan under way. Its thread calls `enter` for each place and `progress` for each model."""

    def __init__(self, left_out: frozenset[Hashable]) -> None:
        self.left_out = left_out
        """Places in which an earlier scan still hangs."""
        self.abandoned = False
        self.place: Hashable = None
        self.hung_at: Hashable = None
        """The place at which it was abandoned; its thread may go on after all, and leave that place."""
        self.progressed_at = time.monotonic()

    def enter(self, place: Hashable) -> None:
        """Note that the scan now reads `place`."""
        self.place = place
        self.progress()

    def progress(self) -> None:
        """Note that the scan has not hung."""
        self.progressed_at = time.monotonic()


class Scanner:
    """`work` does a scan. Its result counts only while the scan is not abandoned."""

    def __init__(self, work: Callable[[Scan], None], hung_seconds: float = HUNG_SECONDS) -> None:
        self._work = work
        self._hung_seconds = hung_seconds
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._running: Scan | None = None
        self._wanted: Future[None] | None = None
        """The next scan's, shared by all that asked since the last one began."""
        self._urgent = False
        self._begun_at = -EVERY_SECONDS
        self._hung: set[Hashable] = set()

    def request(self, urgent: bool) -> "Future[None]":
        """Return a future of the end of a scan that begins from now on. Never blocks; callers wait with a limit, and do
        not cancel it. Unless `urgent`, the scan begins at least EVERY_SECONDS after the last one."""
        with self._changed:
            self._abandon_hung()
            wanted = self._wanted = self._wanted or Future()
            self._urgent |= urgent
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="library-scan", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return wanted

    def _abandon_hung(self) -> None:
        scan = self._running
        if scan is None or time.monotonic() - scan.progressed_at < self._hung_seconds or scan.place in self._hung:
            return
        logging.getLogger("lmx.library").warning(
            "%s does not answer; its models are listed as they were until it does", scan.place
        )
        scan.abandoned, scan.hung_at = True, scan.place
        self._hung.add(scan.place)
        self._running = self._thread = None

    def _run(self) -> None:
        while (begun := self._begin()) is not None:
            scan, served = begun
            try:
                self._work(scan)
            except BaseException as error:  # the top of a thread: whoever asked gets it
                served.set_exception(error)
            else:
                served.set_result(None)
            with self._changed:
                if scan.abandoned:
                    self._hung.discard(scan.hung_at)
                    return
                self._running = None

    def _begin(self) -> "tuple[Scan, Future[None]] | None":
        """Wait until the next scan may begin; None where none is wanted, and the thread ends."""
        with self._changed:
            while self._wanted is not None:
                delay = 0.0 if self._urgent else self._begun_at + EVERY_SECONDS - time.monotonic()
                if delay <= 0:
                    served, self._wanted, self._urgent = self._wanted, None, False
                    self._begun_at = time.monotonic()
                    self._running = Scan(frozenset(self._hung))
                    return self._running, served
                self._changed.wait(delay)
            self._thread = None
            return None


def wait_for(scan: "Future[None]", seconds: float) -> None:
    """Block until the scan has ended, at most for `seconds`. Raises what the scan raised."""
    with suppress(TimeoutError):
        scan.result(seconds)
