"""Settings: the README shows the true ones, and what is wrong in the file is said by name."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.reading import read_settings
from lmx_daemon.settings.schema import Settings

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_shows_settings_that_exist_with_their_defaults() -> None:
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
def test_a_wrong_one_is_named_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.toml") as raised:
        read_settings(Home(tmp_path))
    assert named in raised.value.message and raised.value.hint


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        read_settings(Home(tmp_path))
