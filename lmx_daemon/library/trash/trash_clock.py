"""The clock of the trash. It counts the time that lmx has observed, so that a jump of the wall clock deletes nothing.

A machine without a battery-backed clock starts with a wrong time, and NTP then moves it by years. So a step counts at
most as long as the uptime clock has advanced, which cannot be set. The time between two daemons counts up to a limit.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lmx_daemon.contract.errors import NewerStateError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.durable import write_file
from lmx_daemon.storage.versions import VersionedState

UNSEEN_SECONDS = 6 * 3600.0
"""Upper bound on the time that counts between the end of one daemon and the start of the next."""

WRITE_SECONDS = 600.0
"""Interval between two writes of the clock's file."""


class ClockState(Frozen, frozen=True):
    """Content of the clock's file."""

    seconds: float = 0.0
    """Time that has been observed since the trash was made."""
    at: float = 0.0
    """Wall-clock time of the last step."""


STATE = VersionedState(ClockState)


def step(state: ClockState, now: float, allowed: float) -> ClockState:
    """Return the state at the wall-clock time `now`; at most `allowed` seconds are counted since the last step."""
    return ClockState(seconds=state.seconds + min(max(0.0, now - state.at), max(0.0, allowed)), at=now)


class TrashClock:
    """Clock of one trash. Several daemons may share it: each counts from the last step of any of them."""

    def __init__(self, file: Path, now: Callable[[], float], up: Callable[[], float]) -> None:
        self._file = file
        self._now = now
        self._up = up
        self._written_at: float | None = None
        """Uptime when this process last wrote the file."""

    def seconds(self, oldest: float = 0.0) -> float:
        """Return the observed time. If the clock's file was lost, it continues from `oldest`.

        Raises NewerStateError for a file of a newer lmx.
        """
        up, now = self._up(), self._now()
        known = STATE.read(self._file) or ClockState(seconds=oldest, at=now)
        state = step(known, now, UNSEEN_SECONDS if self._written_at is None else up - self._written_at)
        if self._written_at is None or up - self._written_at >= WRITE_SECONDS:
            with suppress(OSError):
                write_file(self._file, STATE.encode(state))
                self._written_at = up
        return state.seconds

    def forget(self) -> None:
        """Delete the clock of an empty trash; the next entry starts a new one. A file of a newer lmx stays."""
        with suppress(OSError, NewerStateError):
            STATE.read(self._file)
            self._file.unlink(missing_ok=True)
        self._written_at = None


def uptime() -> float:
    """Return seconds on a clock that counts during sleep and that cannot be set (on macOS, CLOCK_MONOTONIC)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
