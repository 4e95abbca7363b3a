"""Tests of the settings of a running daemon: reload, the watch of the file, and changes of one key."""

import logging
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.config import ConfigReload, ConfigRow
from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.live_config import LiveConfig
from lmx_daemon.settings.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def live(home: Home, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None) -> LiveConfig:
    return LiveConfig(home, environ or {}, flags or {})


def row(config: LiveConfig, key: str) -> ConfigRow:
    return next(row for row in config.view().rows if row.key == key)


async def test_a_reload_reports_what_is_in_force_and_what_needs_a_restart(home: Home) -> None:
    config = live(home)
    home.config.write_text("[server]\nport = 9\nmax_queued = 3\n[tui]\ntheme = 'x'\n")
    assert await config.reload() == ConfigReload(changed=("server.max_queued", "tui.theme"), waiting=("server.port",))
    assert config.source.current.server.max_queued == 3 and config.source.current.server.port == 1234
    found = row(config, "server.port")
    assert (found.value, found.next, found.waiting, found.source, found.place) == (1234, 9, True, "file", "line 2")
    home.config.unlink()
    assert await config.reload() == ConfigReload(changed=("server.max_queued", "tui.theme"))
    assert not row(config, "server.port").waiting


async def test_a_fault_leaves_the_settings_and_is_shown_until_it_is_corrected(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.config.write_text("[server]\nmax_queued = 3\n")
    config = live(home)
    home.config.write_text("[server]\nmax_queued = 'x'\n")
    with caplog.at_level(logging.ERROR, "lmx.settings"):
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"line 2: server\.max_queued must be an integer"):
                await config.reload()
    assert len(caplog.records) == 1 and "line 2" in caplog.text
    assert config.source.current.server.max_queued == 3
    assert "line 2" in config.view().fault and config.source.fault
    home.config.write_text("[server]\nmax_queued = 4\n")
    await config.reload()
    assert config.source.current.server.max_queued == 4 and not config.view().fault


async def test_the_watch_reads_a_changed_file_once_it_stays_the_same(home: Home) -> None:
    home.config.write_text("[server]\nmax_queued = 3\n")
    config = live(home)
    home.config.write_text("[server]\nmax_qu")
    await config.look()
    home.config.write_text("[server]\nmax_queued = 40\n")
    await config.look()
    assert config.source.current.server.max_queued == 3 and not config.source.fault
    await config.look()
    assert config.source.current.server.max_queued == 40
    home.config.unlink()
    await config.look()
    await config.look()
    assert config.source.current.server.max_queued == 256


async def test_the_watch_reads_an_unchanged_file_once(home: Home) -> None:
    home.config.write_text("[server]\nmax_queued = 3\n")
    config = live(home)
    read: list[int] = []
    config.source.subscribe(lambda old, new: read.append(new.server.max_queued))
    home.config.write_text("[server]\nmax_queued = 44\n")
    for _ in range(5):
        await config.look()
    assert read == [44]


async def test_variables_and_flags_stay_above_the_file_at_a_reload(home: Home) -> None:
    config = live(home, {"LMX_SERVER_MAX_QUEUED": "7"}, {"server.port": 0})
    home.config.write_text("[server]\nport = 9\nmax_queued = 3\n")
    assert await config.reload() == ConfigReload()
    assert row(config, "server.port").source == "flag" and row(config, "server.max_queued").value == 7
    assert (await config.set("server.max_queued", 5)).overridden == "LMX_SERVER_MAX_QUEUED"


async def test_one_key_is_set_and_removed_in_the_file(home: Home) -> None:
    home.config.write_text("# mine\n[server]\nport = 1234 # here\n")
    config = live(home)
    assert await config.set("server.max_queued", 3) == ConfigReload(changed=("server.max_queued",))
    assert await config.set("server.allowed_hosts", "a.example, b.example") == ConfigReload(
        changed=("server.allowed_hosts",)
    )
    assert config.source.current.server.allowed_hosts == ("a.example", "b.example")
    assert home.config.read_text().startswith("# mine\n[server]\nport = 1234 # here\n# ")
    await config.set("server.allowed_hosts", None)
    await config.set("server.max_queued", None)
    assert home.config.read_text() == "# mine\n[server]\nport = 1234 # here\n"
    assert config.source.current.server.max_queued == 256


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("server.max_queued", "many", r'server\.max_queued must be an integer of at least 0, not "many"'),
        ("server.max_queued", -1, r"server\.max_queued must be an integer of at least 0, not -1"),
        ("server.max_queud", 1, "is not a setting"),
        ("max_queued", 1, "is not a setting"),
    ],
)
async def test_a_wrong_key_or_value_changes_nothing(home: Home, key: str, value: Any, message: str) -> None:
    config = live(home)
    with pytest.raises(ConfigError, match=message) as refused:
        await config.set(key, value)
    assert "server.max_queued" in (refused.value.hint or "") and not home.config.exists()


async def test_a_secret_value_is_neither_in_the_list_nor_in_the_log(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    config = live(home)
    with caplog.at_level(logging.INFO, "lmx.settings"):
        await config.set("server.api_key", "hush")
    found = row(config, "server.api_key")
    assert found.secret and found.waiting and not found.is_set
    assert "hush" not in caplog.text and "hush" not in repr(config.view())


async def test_settings_of_a_model_are_set_listed_and_removed(home: Home) -> None:
    config = live(home)
    for name, value in (("models.org/Qwen2.5-7B.ttl", "5"), ('models."org/Qwen2.5-7B".template', '{ tone = "dry" }')):
        await config.set(name, value)
    own = config.source.current.models["org/Qwen2.5-7B"]
    assert own.ttl == 5.0 and own.template == {"tone": "dry"}
    found = row(config, 'models."org/Qwen2.5-7B".ttl')
    assert (found.value, found.source, found.place[:5]) == (5.0, "file", "line ")
    assert [each.key for each in config.view().named][:2] == ['models."NAME".context', 'models."NAME".parallel']
    changed = await config.set("models.org/Qwen2.5-7B.ttl", None)
    assert changed == ConfigReload(changed=('models."org/Qwen2.5-7B".ttl',))
    assert config.source.current.models["org/Qwen2.5-7B"].ttl is None
