"""Counts of crashes and of ends by memory shortage, and the delay of the next start that follows from them."""

from collections import defaultdict

from lmx_daemon.contract.errors import CrashLoopError, LmxError, OutOfMemoryError
from lmx_daemon.contract.models import IncidentKind, Model
from lmx_daemon.residency.decisions.plan import Start, start_after
from lmx_daemon.settings.source import SettingsSource


class Ends:
    """The ends of all models' processes. Times are monotonic seconds."""

    def __init__(self, settings: SettingsSource) -> None:
        self._settings = settings
        self._crashes: dict[str, list[float]] = defaultdict(list)
        self._ran_out: dict[str, list[float]] = defaultdict(list)

    def crashed(self, model: Model, now: float) -> None:
        """Count a crash or a hang."""
        self._crashes[model.id].append(now)

    def ran_out(self, model: Model, now: float) -> None:
        """Count an end by shortage of system or GPU memory, or by a footprint above the worker's limit."""
        self._ran_out[model.id].append(now)

    def count(self, model: Model, error: LmxError, now: float) -> IncidentKind:
        """Count the end of a process by its cause, and return the kind of the incident."""
        if isinstance(error, OutOfMemoryError):
            self.ran_out(model, now)
            return "out of memory"
        self.crashed(model, now)
        return "crashed"

    def crashes(self, model: Model) -> int:
        """Return the number of crashes of the model since the daemon started."""
        return len(self._crashes[model.id])

    def out_of_memory(self, model: Model, now: float) -> int:
        """Return the number of times that the model ran out of memory within `restart_window_seconds`."""
        return sum(
            now - then < self._settings.current.engine.restart_window_seconds for then in self._ran_out[model.id]
        )

    def delay(self, model: Model, now: float) -> float:
        """Return the seconds to wait before the next start.

        Raise CrashLoopError or OutOfMemoryError after `max_restarts` ends of one kind within the window.
        """
        engine = self._settings.current.engine
        limit, window = engine.max_restarts, engine.restart_window_seconds
        crashed, ran_out = self._start(self._crashes[model.id], now), self._start(self._ran_out[model.id], now)
        if crashed.refused_for is not None:
            raise CrashLoopError(
                f"{model.id} has crashed {limit} times within {window:.0f} s",
                hint=f"it may be started again in {crashed.refused_for:.0f} s; the log has the reasons of the crashes",
                retry_after=crashed.refused_for,
            )
        if ran_out.refused_for is not None:
            raise OutOfMemoryError(
                f"{model.id} ran out of memory {limit} times within {window:.0f} s",
                hint=f"it may be started again in {ran_out.refused_for:.0f} s; a shorter --context or a smaller model "
                "needs less",
                retry_after=ran_out.refused_for,
                param="model",
            )
        return max(crashed.wait, ran_out.wait)

    def _start(self, ends: list[float], now: float) -> Start:
        engine = self._settings.current.engine
        return start_after(ends, now, engine.max_restarts, engine.restart_window_seconds)
