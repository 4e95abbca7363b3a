"""Changes, backups and restores of the configurations of agents."""

import json
from pathlib import Path

import pytest

from lmx_cli.launch.files import BACKUP, REPLACED, change_of, restore, write_change
from lmx_cli.launch.target import ConfigFile
from lmx_daemon.contract.errors import ConfigError


def file_at(path: Path, value: int = 1) -> ConfigFile:
    return ConfigFile(path, "json", {"lmx": {"value": value}})


def test_a_restore_brings_back_the_bytes_from_before_the_first_launch(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"mine":  1}')
    path.chmod(0o640)
    for value in (1, 2):
        write_change(change_of(file_at(path, value)))
    assert json.loads(path.read_text()) == {"mine": 1, "lmx": {"value": 2}}
    assert path.stat().st_mode & 0o777 == 0o640
    assert restore(path) == "restored"
    assert path.read_bytes() == b'{"mine":  1}' and path.stat().st_mode & 0o777 == 0o640
    assert json.loads((tmp_path / f"config.json{REPLACED}").read_text())["lmx"] == {"value": 2}
    assert restore(path) is None


def test_a_restore_removes_a_file_that_did_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.json"
    write_change(change_of(file_at(path)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert restore(path) == "removed, since there was none before"
    assert not path.exists() and not path.with_name(path.name + BACKUP).exists()


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles.json", tmp_path / "config.json"
    real.write_text("{}")
    link.symlink_to(real)
    write_change(change_of(file_at(link)))
    assert link.is_symlink() and "lmx" in real.read_text()
    assert restore(link) == "restored" and real.read_text() == "{}"


def test_a_diff_has_the_added_lines_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n  "mine": 1\n}')
    change = change_of(file_at(path))
    assert '+  "lmx": {\n' in change.diff() and change.differs
    assert path.read_text() == '{\n  "mine": 1\n}'


@pytest.mark.parametrize("content", [b"\xff\xfe{}", None], ids=["not UTF-8", "a folder"])
def test_an_unreadable_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "config.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot read"):
        change_of(file_at(path))
