"""Tests of the counts of crashes and of ends by memory shortage."""

import pytest

from lmx_daemon.contract.errors import CrashLoopError, OutOfMemoryError
from lmx_daemon.contract.models import Model
from lmx_daemon.residency.decisions.ends import Ends
from lmx_daemon.settings.schema import EngineSettings, Settings
from lmx_daemon.settings.source import SettingsSource

MODEL = Model(id="a", path="/a", source="folder")
SETTINGS = SettingsSource(Settings(engine=EngineSettings(max_restarts=3, restart_window_seconds=100.0)))


def test_memory_shortages_and_crashes_are_counted_apart() -> None:
    ends = Ends(SETTINGS)
    for now in (0.0, 1.0):
        ends.crashed(MODEL, now)
        ends.ran_out(MODEL, now)
    assert ends.delay(MODEL, 1.5) > 0.0 and ends.crashes(MODEL) == 2 and ends.out_of_memory(MODEL, 2.0) == 2
    ends.ran_out(MODEL, 3.0)
    with pytest.raises(OutOfMemoryError, match="ran out of memory 3 times") as refused:
        ends.delay(MODEL, 4.0)
    assert refused.value.retry_after == 96.0
    assert ends.delay(MODEL, 200.0) == 0.0 and ends.out_of_memory(MODEL, 200.0) == 0
    for now in (200.0, 201.0, 202.0):
        ends.crashed(MODEL, now)
    with pytest.raises(CrashLoopError):
        ends.delay(MODEL, 203.0)
