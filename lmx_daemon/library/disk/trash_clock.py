"""The age of what lies in the trash: time that lmx has seen pass, so that a clock that jumps empties nothing.

Wall-clock time alone is wrong after a start without a battery-backed clock: NTP then moves it by years. A step counts
no more than the uptime clock has advanced, which nothing sets. The time between two daemons counts up to a limit.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.durable import write_file
from lmx_daemon.storage.state import json_of, read_state

UNSEEN_SECONDS = 6 * 3600.0
"""Upper bound on the time that counts between the end of one daemon and the start of the next."""

KEEP_SECONDS = 600.0
"""The file is written so often."""


class ClockState(Frozen, frozen=True):
    """The file's content."""

    seconds: float = 0.0
    """Time that has been seen to pass since the trash was made."""
    at: float = 0.0
    """Wall-clock time of the last step."""


DECODE = json_of(ClockState)


def step(seen: ClockState, now: float, allowed: float) -> ClockState:
    """Return the state at wall-clock time `now`, of which at most `allowed` seconds count."""
    return ClockState(seconds=seen.seconds + min(max(0.0, now - seen.at), max(0.0, allowed)), at=now)


class TrashClock:
    """The clock of one trash. Several daemons may share it: each counts from the last step of any of them."""

    def __init__(self, file: Path, now: Callable[[], float], up: Callable[[], float]) -> None:
        self._file = file
        self._now = now
        self._up = up
        self._kept_at: float | None = None
        """Uptime when this process last wrote the file."""

    def seconds(self, oldest: float = 0.0) -> float:
        """Return the time seen now. A clock that was lost goes on from `oldest`. A full disk is no error."""
        up, now = self._up(), self._now()
        known = read_state(self._file, DECODE) or ClockState(seconds=oldest, at=now)
        seen = step(known, now, UNSEEN_SECONDS if self._kept_at is None else up - self._kept_at)
        if self._kept_at is None or up - self._kept_at >= KEEP_SECONDS:
            with suppress(OSError):
                write_file(self._file, msgspec.json.encode(seen))
                self._kept_at = up
        return seen.seconds

    def forget(self) -> None:
        """Begin anew with the next entry; for an empty trash."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._kept_at = None


def uptime() -> float:
    """Return seconds on a clock that goes on while the system sleeps and that nothing sets; macOS's MONOTONIC does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
