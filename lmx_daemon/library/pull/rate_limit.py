"""The limit on the rate of downloads that is in force now: of a command, else of the schedule, else of the setting."""

import time
from collections.abc import Callable, Mapping

from lmx_daemon.contract.admin.library.pulls import LimitState
from lmx_daemon.settings.schema import LibrarySettings
from lmx_daemon.settings.values.rates import RateWindow, parse_schedule, window_at

ZONE_SECONDS = 60.0
"""Interval at which the system's time zone is read again, which a journey changes."""


class RateLimit:
    """The limit. Threads of pulls read it for each chunk, so that a change applies to a running pull.

    `local` returns the local wall-clock time: a changed clock or zone has effect at the next chunk.
    """

    def __init__(
        self,
        settings: Callable[[], LibrarySettings],
        local: Callable[[], time.struct_time] = time.localtime,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._local = local
        self._clock = clock
        self._zone_read_at = clock()
        self._command: tuple[int | None] | None = None
        """The limit that a command has set; None if none has."""
        self._parsed: tuple[Mapping[str, str], tuple[RateWindow, ...]] = ({}, ())

    def set(self, rate: int | None) -> None:
        """Set the limit of a command, None for no limit. It holds until `follow_settings` or the daemon's end."""
        self._command = (rate,)

    def follow_settings(self) -> None:
        """Forget the limit of a command."""
        self._command = None

    def rate(self) -> int | None:
        """Return the limit in bytes per second; None without a limit."""
        return self.state().bytes_per_second

    def state(self) -> LimitState:
        """Return the limit with its origin."""
        if (command := self._command) is not None:
            return LimitState(bytes_per_second=command[0], origin="command")
        settings = self._settings()
        if (window := self._window(settings.rate_schedule)) is not None:
            return LimitState(bytes_per_second=window.rate, origin="schedule", window=window.text)
        return LimitState(bytes_per_second=settings.bytes_per_second, origin="setting")

    def _window(self, schedule: Mapping[str, str]) -> RateWindow | None:
        if not schedule:
            return None
        parsed = self._parsed
        if parsed[0] is not schedule:
            parsed = self._parsed = schedule, parse_schedule(schedule)
        if self._clock() - self._zone_read_at >= ZONE_SECONDS:
            self._zone_read_at = self._clock()
            time.tzset()
        return window_at(parsed[1], self._local())
