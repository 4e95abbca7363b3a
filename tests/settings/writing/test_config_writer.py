"""Tests of the writing of config.toml: one writer at a time, nothing acknowledged is lost, faults change nothing."""

import os
import random
import subprocess
import sys
import time
import tomllib
from functools import partial
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.writing.config_writer import change_config, replace_config
from lmx_daemon.settings.writing.edits import with_value

KILLS = 8
WRITER = """
import sys
from functools import partial
from pathlib import Path
from lmx_daemon.settings.writing.config_writer import change_config
from lmx_daemon.settings.writing.edits import with_value
from lmx_daemon.settings.paths import Home

home, key, first = Home(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for number in range(first, first + int(sys.argv[4])):
    change_config(home, lambda text: with_value(text, ("server", key), number))
    print(number, flush=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def set_port(home: Home, port: int) -> None:
    change_config(home, partial(with_value, path=("server", "port"), value=port))


def port_of(home: Home) -> object:
    return tomllib.loads(home.config.read_text())["server"]["port"]


def test_a_new_file_is_for_its_owner_and_an_existing_one_keeps_its_mode(home: Home) -> None:
    set_port(home, 1)
    assert home.config.stat().st_mode & 0o777 == 0o600
    home.config.chmod(0o640)
    set_port(home, 2)
    assert home.config.stat().st_mode & 0o777 == 0o640 and port_of(home) == 2


def test_the_last_content_is_kept(home: Home) -> None:
    set_port(home, 1)
    before = home.config.read_bytes()
    set_port(home, 2)
    assert home.config_backup.read_bytes() == before
    set_port(home, 2)
    assert home.config_backup.read_bytes() == before


def test_a_link_of_a_dotfile_manager_stays_a_link(home: Home, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "lmx.toml").write_text("# mine\n[server]\nport = 1\n")
    home.config.symlink_to("dotfiles/lmx.toml")
    set_port(home, 2)
    assert home.config.is_symlink()
    assert (tmp_path / "dotfiles" / "lmx.toml").read_text() == "# mine\n[server]\nport = 2\n"


@pytest.mark.parametrize("content", ["[server]\nport = 'x'\n", "[server\n"])
def test_a_file_with_a_fault_is_not_changed(home: Home, content: str) -> None:
    home.config.write_text(content)
    with pytest.raises(ConfigError, match="line"):
        set_port(home, 2)
    assert home.config.read_text() == content and not home.config_backup.exists()


def test_an_edit_that_makes_a_fault_is_refused(home: Home) -> None:
    set_port(home, 1)
    with pytest.raises(ConfigError, match=r"server\.port must be an integer"):
        set_port(home, 99_999)
    assert port_of(home) == 1


def test_a_whole_text_replaces_only_the_one_that_was_edited(home: Home) -> None:
    replace_config(home, b"", b"[server]\nport = 1\n")
    with pytest.raises(ConfigError, match="changed by another program"):
        replace_config(home, b"", b"[server]\nport = 2\n")
    assert port_of(home) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_the_file_of_an_administrator_is_not_replaced(home: Home, tmp_path: Path) -> None:
    (tmp_path / "theirs.toml").write_text("[server]\nport = 1\n")
    os.chown(tmp_path / "theirs.toml", 65_534, 65_534)
    home.config.symlink_to("theirs.toml")
    with pytest.raises(ConfigError, match="belongs to another user"):
        set_port(home, 2)
    assert port_of(home) == 1


def test_a_full_disk_is_an_error_and_the_file_stays(home: Home) -> None:
    set_port(home, 1)
    before = home.config.read_bytes()
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before)},) * 2)\n{WRITER}"
    command = [sys.executable, "-c", code, str(home.root), "max_body_bytes", "1234567", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "ConfigError: cannot write" in ended.stderr and ended.stdout == ""
    assert home.config.read_bytes() == before and not list(home.root.glob(".*"))


def writer(home: Home, key: str, first: int, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(home.root), key, str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(home: Home) -> None:
    random.seed(1)
    first = 1
    for _ in range(KILLS):
        with writer(home, "max_queued", first, 10_000) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            time.sleep(random.random() / 20)
            process.kill()
            lines += process.stdout.read().splitlines()
        acknowledged = int([line for line in lines if line.strip()][-1])
        found = tomllib.loads(home.config.read_text())["server"]["max_queued"]
        assert found in (acknowledged, acknowledged + 1)
        first = found + 1
    set_port(home, 1)
    left = sorted(file.name for file in home.root.iterdir())
    assert left == ["config.lock", "config.toml", "config.toml.bak", "logs"]


def test_two_writers_lose_nothing_of_each_other(home: Home) -> None:
    processes = [writer(home, key, 1, 10) for key in ("max_queued", "max_body_bytes", "answer_bytes")]
    for process in processes:
        process.communicate(timeout=60)
    assert tomllib.loads(home.config.read_text())["server"] == {
        "max_queued": 10,
        "max_body_bytes": 10,
        "answer_bytes": 10,
    }
