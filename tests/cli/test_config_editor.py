"""Tests of `lmx config edit` if config.toml is not a regular file."""

import os
from pathlib import Path

import pytest

from lmx_cli.config_editor import edit_config
from lmx_cli.output import Output
from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.writing.config_writer import replace_config


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_config_that_is_not_a_file_is_refused_before_the_editor_starts(
    make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(make)
    make(tmp_path / "config.toml")
    monkeypatch.setenv("LMX_HOME", str(tmp_path))
    monkeypatch.setenv("VISUAL", "false")
    with pytest.raises(ConfigError, match="cannot read"):
        edit_config(Output())
    with pytest.raises(ConfigError, match="cannot read"):
        replace_config(Home(tmp_path), b"", b"")
