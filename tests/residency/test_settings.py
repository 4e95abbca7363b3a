"""Tests of settings that take effect on a running pool."""

from collections.abc import Callable

import msgspec
import pytest

from lmx_daemon.contract.errors import BusyError
from lmx_daemon.settings.schema import EngineSettings, ServerSettings, Settings
from tests.residency.fakes import MB, Harness


def test_a_new_max_queued_limits_the_next_request(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(900 * MB, max_running=1)
    harness.ask("a")
    harness.ask("a")
    limited = msgspec.structs.replace(
        harness.settings.current,
        server=ServerSettings(max_queued=1),
    )
    harness.settings.replace(limited)
    with pytest.raises(BusyError):
        harness.ask("a")
    harness.settings.replace(msgspec.structs.replace(limited, server=ServerSettings(max_queued=2)))
    harness.ask("a")


def test_a_new_max_running_applies_to_the_next_load(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(900 * MB, max_running=1)
    harness.settings.replace(Settings(engine=EngineSettings(max_running=7)))
    worker = harness.loaded("a")
    assert worker.command is not None and worker.command.options.max_running == 7
