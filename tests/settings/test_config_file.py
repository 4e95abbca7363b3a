"""Tests of config.toml: the README lists the true settings, and errors name the key and the file."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.config_file import read_settings
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_lists_existing_settings_with_their_defaults() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    assert msgspec.convert(tomllib.loads(shown), Settings) == Settings()
    uncommented = re.sub(r"^# (?=\w+ = )", "", shown, flags=re.MULTILINE)
    msgspec.convert(tomllib.loads(uncommented), Settings)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nport = 'x'", "server.port"),
        ("[server]\nportt = 1", "portt"),
        ("[serv]", "serv"),
        ("[server]\nport = 70000", "server.port"),
        ("[engine]\nhang_seconds = 0", "engine.hang_seconds"),
        ("[engine]\nhang_seconds = nan", "engine.hang_seconds"),
        ("[tui]\nsymbols = 'x'", "tui.symbols"),
        ("port = = 1", "line 1"),
    ],
)
def test_an_invalid_setting_is_reported_with_its_name_and_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml") as raised:
        read_settings(Home(tmp_path))
    assert named in raised.value.message and raised.value.hint


def test_a_config_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        read_settings(Home(tmp_path))
