"""The progress of a move: counted by its thread, read by the event loop."""

import threading
import time
from collections.abc import Callable

from lmx_daemon.contract.admin.library.move import MoveState, MoveUpdate
from lmx_daemon.contract.text import valid_text

MAX_SHOWN = 50
"""Upper bound on the paths in an update."""


class MoveProgress:
    """Counters behind one lock."""

    def __init__(self, state: MoveState, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._state: MoveState = state
        self._begun_at = clock()
        self._work = self._worked = self._total = self._files = 0
        self._model = ""
        self._left: list[str] = []
        self._damaged: dict[str, None] = {}

    def expect(self, size: int) -> None:
        """Add bytes that must be moved."""
        with self._lock:
            self._total += size

    def begin_model(self, model: str) -> None:
        """Record the repository that is moved now."""
        with self._lock:
            self._model = model

    def add_work(self, count: int) -> None:
        """Add bytes that were copied or read again. Each byte of a copy counts twice."""
        with self._lock:
            self._work += count
            self._worked += count

    def add_proved(self, size: int) -> None:
        """Add bytes whose copies were proved before."""
        with self._lock:
            self._work += 2 * size

    def count_file(self) -> None:
        """Count a file or link that is at the target."""
        with self._lock:
            self._files += 1

    def leave_out(self, path: str, reason: str) -> None:
        """Record an entry that stays where it is."""
        with self._lock:
            self._left.append(valid_text(f"{path}: {reason}"))

    def add_damaged(self, key: str) -> None:
        """Record a blob whose bytes differ from the hash in its name."""
        with self._lock:
            self._damaged[key] = None

    def update(self, state: MoveState | None = None) -> MoveUpdate:
        """Return the progress now. The remaining time follows from the mean rate of this run."""
        with self._lock:
            seconds, left = self._clock() - self._begun_at, max(0, 2 * self._total - self._work)
            rate = self._worked / seconds if seconds > 1 else 0.0
            return MoveUpdate(
                state=state or self._state,
                model=self._model,
                done=min(self._work // 2, self._total),
                total=self._total,
                eta=left / rate if rate > 0 else None,
                files=self._files,
                left=tuple(self._left[:MAX_SHOWN]),
                damaged=tuple(self._damaged)[:MAX_SHOWN],
            )
