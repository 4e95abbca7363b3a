"""Regular inspection of models in memory: hangs, growth, time to live, readers that stopped, and shares of memory.

plan.py defines hangs and expiries. departures.py and loads.py end models.
"""

import math
from collections.abc import Callable
from functools import partial

from lmx_daemon.contract.errors import LmxError, WorkerHungError
from lmx_daemon.residency.accounts import Accounts
from lmx_daemon.residency.decisions.departures import Departures
from lmx_daemon.residency.decisions.ends import Ends
from lmx_daemon.residency.decisions.loading.loads import Loads
from lmx_daemon.residency.decisions.loading.refusal import outgrown
from lmx_daemon.residency.decisions.plan import exceeded, stalled_for
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.decisions.residents import Residents
from lmx_daemon.residency.effects import Effects
from lmx_daemon.settings.source import SettingsSource

TICK_SECONDS = 0.5
"""Time between two inspections."""
SAMPLES_ABOVE = 2
"""Samples in a row above the limit of a worker, after which it is ended. A single one may be a short peak."""
HUNG_SECONDS = 0.5
"""Time to exit for a worker that hangs or exceeds its memory. It is short, since the next request waits for its end."""


class Supervision:
    """The part of the scheduler that inspects residents."""

    def __init__(
        self,
        residents: Residents,
        loads: Loads,
        departures: Departures,
        accounts: Accounts,
        ends: Ends,
        effects: Effects,
        settings: SettingsSource,
    ) -> None:
        self._residents = residents
        self._loads = loads
        self._departures = departures
        self._accounts = accounts
        self._ends = ends
        self._effects = effects
        self._settings = settings
        self._ticked = math.inf
        self._since = 0.0
        """Time from which a worker's silence counts. While the daemon is suspended, it receives nothing."""

    def tick(self, end_unread: Callable[[], None]) -> None:
        """Inspect readers, models and memory. An error of one part is raised after the other parts have run."""
        now, before = self._effects.now(), self._ticked
        self._ticked = now
        settings = self._settings.current
        late = min(settings.engine.hang_seconds, settings.server.stall_seconds) / 2
        if now - before - TICK_SECONDS > late:
            self._since = now  # the daemon was suspended, and neither received from workers nor served readers
            return
        parts: list[Callable[[], None]] = [end_unread, self._accounts.sample_kills]
        parts += [partial(self._inspect, resident, now) for resident in self._residents]
        parts += [self._loads.share_out, self._loads.advance]
        errors = []
        for part in parts:
            try:
                part()
            except Exception as error:  # a fault in the supervision of one model must not end that of another
                errors.append(error)
        if errors:
            raise errors[0]

    def stalled(self) -> str | None:
        """Return a message on a model without progress, for the health of the daemon; None if there is none."""
        now = self._effects.now()
        for resident in self._residents:
            if resident.process is not None and resident.phase == "ready":
                stalled = stalled_for(resident.beat, now, self._since)
                if stalled > self._settings.current.engine.hang_seconds / 2:
                    return f"{resident.model.id} has made no progress for {stalled:.0f} s"
        return None

    def _inspect(self, resident: Resident, now: float) -> None:
        resident.sample(now)
        self._accounts.observe(resident, now)
        self._loads.reconsider(resident)
        if resident.process is None or not resident.process.alive or resident.process_dismissed:
            return
        limit = exceeded(
            resident.beat,
            now,
            self._since,
            loading=resident.loaded is None,
            greeted=resident.process.hello is not None,
            hang=self._settings.current.engine.hang_seconds,
            load=self._settings.current.engine.load_seconds,
        )
        if limit is not None:
            self._end_hung(resident, limit)
        elif resident.samples_above >= SAMPLES_ABOVE and self._memory_matters(resident):
            self._end_outgrown(resident)
        elif (expires := resident.expires()) is not None and now > expires:
            self._effects.report("expired", resident.model.id, "unloaded: not used for its time to live")
            self._departures.begin(resident, force=False)

    def _memory_matters(self, resident: Resident) -> bool:
        """Return whether a footprint above the limit is a fault.

        On a Mac a correct footprint can be twice MLX's count, so that only memory pressure makes it a fault.
        """
        return not resident.unified or self._accounts.room().pressure != "normal"

    def _end_hung(self, resident: Resident, limit: float) -> None:
        error = WorkerHungError(f"{resident.model.id} made no progress for {limit:g} s and was ended", hint="try again")
        self._effects.report("hung", resident.model.id, error.message)
        self._ends.crashed(resident.model, self._effects.now())
        self._end(resident, error)

    def _end_outgrown(self, resident: Resident) -> None:
        most = self._accounts.most(resident)
        assert most is not None
        error = outgrown(resident.model.id, resident.footprint, most)
        self._effects.report("out of memory", resident.model.id, error.message)
        self._ends.ran_out(resident.model, self._effects.now())
        self._end(resident, error)

    def _end(self, resident: Resident, error: LmxError) -> None:
        seconds = min(self._settings.current.engine.leave_seconds, HUNG_SECONDS)
        if resident.starting:
            self._loads.fail(resident, error, report=False, leave_seconds=seconds)
        else:
            self._departures.end(resident, error, seconds)
