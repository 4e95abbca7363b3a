"""Tests of the settings source: values in force, notification, and keys that need a restart."""

import logging

import msgspec
import pytest

from lmx_daemon.contract.errors import StartupError
from lmx_daemon.settings.schema import EngineSettings, ServerSettings, Settings
from lmx_daemon.settings.source import SettingsSource


def with_server(**values: object) -> Settings:
    return Settings(server=msgspec.structs.replace(ServerSettings(), **values))


def test_a_hot_key_is_in_force_at_once_and_subscribers_are_notified() -> None:
    source = SettingsSource(Settings())
    seen: list[tuple[int, int]] = []
    source.subscribe(lambda old, new: seen.append((old.server.max_queued, new.server.max_queued)))
    assert source.replace(with_server(max_queued=3)) == ()
    assert source.current.server.max_queued == 3
    assert seen == [(256, 3)]


def test_a_restart_key_keeps_its_value_and_is_returned() -> None:
    source = SettingsSource(Settings())
    assert source.replace(with_server(port=9, max_queued=3)) == ("server.port",)
    assert source.current.server.port == ServerSettings().port
    assert source.current.server.max_queued == 3


def test_subscribers_are_not_notified_when_nothing_changes() -> None:
    source = SettingsSource(Settings())
    calls: list[Settings] = []
    source.subscribe(lambda old, new: calls.append(new))
    source.replace(Settings())
    source.replace(with_server(port=9))
    assert calls == []


def test_settings_that_fail_the_check_change_nothing() -> None:
    def check(settings: Settings) -> None:
        if not settings.engine.sanitize_control_tokens:
            raise StartupError("refused")

    source = SettingsSource(Settings(), check)
    calls: list[Settings] = []
    source.subscribe(lambda old, new: calls.append(new))
    with pytest.raises(StartupError):
        source.replace(Settings(engine=EngineSettings(sanitize_control_tokens=False)))
    assert source.current == Settings() and calls == []
    with pytest.raises(StartupError):
        SettingsSource(Settings(engine=EngineSettings(sanitize_control_tokens=False)), check)


def test_an_error_of_one_subscriber_is_logged_and_the_others_are_notified(caplog: pytest.LogCaptureFixture) -> None:
    source = SettingsSource(Settings())
    calls: list[int] = []

    def fail(old: Settings, new: Settings) -> None:
        raise ValueError("a defect")

    source.subscribe(fail)
    source.subscribe(lambda old, new: calls.append(new.server.max_queued))
    with caplog.at_level(logging.ERROR, "lmx.settings"):
        source.replace(with_server(max_queued=3))
    assert calls == [3] and "a defect" in caplog.text


def test_a_subscription_ends_when_its_function_is_called() -> None:
    source = SettingsSource(Settings())
    calls: list[int] = []
    end = source.subscribe(lambda old, new: calls.append(new.server.max_queued))
    source.replace(with_server(max_queued=3))
    end()
    end()
    source.replace(with_server(max_queued=4))
    assert calls == [3]
