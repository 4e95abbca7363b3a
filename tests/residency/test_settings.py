"""Tests of settings that take effect on a running pool."""

from collections.abc import Callable

import msgspec
import pytest

from lmx_daemon.contract.errors import BusyError
from lmx_daemon.settings.schema import EngineSettings, ServerSettings, Settings
from tests.residency.fakes import MB, Floor


def test_a_new_max_queued_limits_the_next_request(make_floor: Callable[..., Floor]) -> None:
    floor = make_floor(900 * MB, max_running=1)
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


def test_a_new_max_running_applies_to_the_next_load(make_floor: Callable[..., Floor]) -> None:
    floor = make_floor(900 * MB, max_running=1)
    floor.settings.replace(Settings(engine=EngineSettings(max_running=7)))
    worker = floor.loaded("a")
    assert worker.command is not None and worker.command.options.max_running == 7
