"""Tests of settings that take effect on a running pool."""

from pathlib import Path

import msgspec
import pytest

from lmx_daemon.contract.errors import BusyError
from lmx_daemon.settings.schema import EngineSettings, ServerSettings, Settings
from tests.residency.fakes import MB, Floor


async def test_a_new_max_queued_limits_the_next_request(tmp_path: Path) -> None:
    floor = Floor(tmp_path, 900 * MB, max_running=1)
    floor.ask("a")
    floor.ask("a")
    limited = msgspec.structs.replace(
        floor.settings.current,
        server=ServerSettings(max_queued=1),
    )
    floor.settings.replace(limited)
    with pytest.raises(BusyError):
        floor.ask("a")
    floor.settings.replace(msgspec.structs.replace(limited, server=ServerSettings(max_queued=2)))
    floor.ask("a")


async def test_a_new_max_running_applies_to_the_next_load(tmp_path: Path) -> None:
    floor = Floor(tmp_path, 900 * MB, max_running=1)
    floor.settings.replace(Settings(engine=EngineSettings(max_running=7)))
    worker = await floor.loaded("a")
    assert worker.command is not None and worker.command.options.max_running == 7
