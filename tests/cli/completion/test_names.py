"""Names for completion, read without a daemon."""

import socket
import time
from pathlib import Path

import pytest

from lmx_cli.completion import names
from lmx_cli.completion.names import names_of
from lmx_daemon.settings.paths import Home
from tests.end_to_end.running import short_home


@pytest.fixture
def home() -> Home:
    return Home(short_home())


def environment(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "HF_HUB_CACHE": str(folder / "hub")}


def test_models_are_read_from_the_folders_of_the_hub_of_lmx_and_of_lm_studio(home: Home, tmp_path: Path) -> None:
    (tmp_path / "hub" / "models--org--small" / "snapshots").mkdir(parents=True)
    (tmp_path / "hub" / "models--org--half").mkdir()
    (tmp_path / "hub" / "datasets--org--rows" / "snapshots").mkdir(parents=True)
    (home.root / "models" / "own" / "tuned").mkdir(parents=True)
    (tmp_path / ".lmstudio" / "models" / "pub" / "chat-4bit").mkdir(parents=True)
    found = names_of(home, environment(tmp_path), "model", "")
    assert found == ["lmx/guide", "org/small", "own/tuned", "pub/chat-4bit"]


def test_aliases_and_presets_are_read_from_their_files(home: Home, tmp_path: Path) -> None:
    home.root.mkdir(exist_ok=True)
    home.aliases.write_text('{"version": 1, "aliases": {"code": ["org/a"]}}')
    home.config.write_text('[router.aliases]\nsmall = "lmx/guide"\n"gpt-*" = "lmx/guide"\n')
    home.presets.mkdir()
    (home.presets / "brief.toml").write_text("max_tokens = 3\n")
    assert names_of(home, environment(tmp_path), "alias", "") == ["code", "small"]
    assert names_of(home, environment(tmp_path), "preset", "") == ["brief"]
    chat = names_of(home, environment(tmp_path), "chat", "")
    assert chat == ["lmx/guide", "code", "small", "auto", "default", "preset:brief"]


def test_settings_and_their_values(home: Home, tmp_path: Path) -> None:
    found = names_of(home, environment(tmp_path), "setting", "")
    assert "server.port" in found and "models.lmx/guide.ttl" in found
    assert names_of(home, environment(tmp_path), "value", "engine.warm_spare") == ["true", "false"]
    assert names_of(home, environment(tmp_path), "value", "logs.level")[0] == "debug"
    assert names_of(home, environment(tmp_path), "value", "nosuch.key") == []


def test_daemon_that_does_not_answer_costs_a_bounded_time(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "SECONDS", 0.3)
    home.root.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home.socket))
        silent.listen()
        begun = time.monotonic()
        names_of(home, environment(tmp_path), "model", "")
        assert time.monotonic() - begun < 10


def test_damaged_files_leave_the_line_without_names(home: Home, tmp_path: Path) -> None:
    home.root.mkdir(exist_ok=True)
    home.aliases.write_text("{")
    home.config.write_text("[router")
    assert names_of(home, environment(tmp_path), "alias", "") == []
