"""Tests of $LMX_HOME: an existing home keeps its mode, a foreign one is refused, planted links are not followed."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lmx_daemon.client.spawn import find_daemon, start_daemon
from lmx_daemon.contract.errors import ConfigError, StartupError
from lmx_daemon.http.server.sockets import bind_admin, take_lock
from lmx_daemon.library.catalog.roots import lmstudio_folders
from lmx_daemon.monitor.logs import Logs
from lmx_daemon.monitor.worker_log import WorkerLog
from lmx_daemon.settings.layers import read_settings
from lmx_daemon.settings.paths import PARTS, WRITTEN, Home, hub_cache
from lmx_daemon.settings.schema import Settings

OTHER_USER = 65_534


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


class TestCreation:
    def test_a_new_home_is_accessible_to_its_owner_only(self, tmp_path: Path) -> None:
        Home(tmp_path / "a" / "lmx").make()
        assert mode(tmp_path / "a" / "lmx") == mode(tmp_path / "a" / "lmx" / "logs") == 0o700

    @pytest.mark.parametrize("before", [0o1777, 0o755, 0o700])
    def test_an_existing_home_keeps_its_mode(self, tmp_path: Path, before: int) -> None:
        tmp_path.chmod(before)
        Home(tmp_path).make()
        assert mode(tmp_path) == before and mode(tmp_path / "logs") == 0o700

    def test_a_home_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="as lmx's home"):
            Home(tmp_path / "file").make()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
    @pytest.mark.parametrize("part", ["", *PARTS])
    def test_an_entry_of_another_user_is_refused_by_name(self, tmp_path: Path, part: str) -> None:
        path = tmp_path / part if part else tmp_path
        if part:
            path.symlink_to("/nonexistent")
        os.chown(path, OTHER_USER, OTHER_USER, follow_symlinks=False)
        with pytest.raises(ConfigError, match="belongs to another user") as refused:
            Home(tmp_path).make()
        assert str(path) in refused.value.message and refused.value.hint
        assert not (tmp_path / "logs").is_dir()

    @pytest.mark.parametrize("part", WRITTEN)
    def test_a_linked_folder_of_the_home_is_refused_by_name(self, tmp_path: Path, part: str) -> None:
        link, behind = tmp_path / "home" / part, tmp_path / "behind"
        behind.mkdir()
        link.parent.mkdir(parents=True)
        link.symlink_to(behind)
        with pytest.raises(ConfigError, match=f"{link} is a link"):
            Home(tmp_path / "home").make()
        assert list(behind.iterdir()) == []

    def test_a_linked_home_is_used(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "home").symlink_to(tmp_path / "real")
        Home(tmp_path / "home").make()
        assert (tmp_path / "real" / "logs").is_dir()

    @pytest.mark.parametrize(
        ("value", "message"), [("~nosuchuser/x", "no such user"), (os.fsdecode(b"/tmp/\xe9"), "not UTF-8")]
    )
    def test_an_invalid_lmx_home_is_refused(self, monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
        monkeypatch.setenv("LMX_HOME", value)
        with pytest.raises(ConfigError, match=message):
            Home.from_environment()


class TestPlantedFiles:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Home:
        home = Home(tmp_path / "home")
        home.make()
        return home

    @pytest.mark.parametrize("kind", ["link", "link to nothing", "FIFO"])
    @pytest.mark.parametrize(
        ("name", "act"),
        [
            ("lmx.lock", take_lock),
            ("logs/daemon.log", lambda home: Logs(home.log_file)),
            ("logs/workers.log", lambda home: WorkerLog(home.worker_log_file).__enter__()),
        ],
        ids=["lock", "log", "workers"],
    )
    async def test_planted_files_are_not_opened(
        self, home: Home, tmp_path: Path, kind: str, name: str, act: Callable[[Home], object]
    ) -> None:
        outside = tmp_path / "outside"
        match kind:
            case "link":
                outside.write_text("mine")
                (home.root / name).symlink_to(outside)
            case "link to nothing":
                (home.root / name).symlink_to(outside)
            case "FIFO":
                os.mkfifo(home.root / name)
        with pytest.raises(StartupError, match=r"cannot (open|write)"):
            act(home)
        assert outside.exists() == (kind == "link") and (kind != "link" or outside.read_text() == "mine")

    async def test_the_start_log_is_not_written_through_a_link(self, home: Home, tmp_path: Path) -> None:
        (tmp_path / "outside").write_text("mine")
        (home.logs / "start.log").symlink_to(tmp_path / "outside")
        with pytest.raises(StartupError, match=r"start\.log"):
            await start_daemon(home)
        assert (tmp_path / "outside").read_text() == "mine"

    async def test_a_link_in_place_of_the_socket_is_replaced_and_not_connected_to(self) -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as short:
            home = Home(Path(short) / "h")
            home.make()
            outside = bind_admin(Path(short) / "o")
            home.socket.symlink_to(Path(short) / "o")
            assert await find_daemon(home) is None
            listener = bind_admin(home.socket)
            assert not home.socket.is_symlink() and (Path(short) / "o").exists()
            listener.close()
            outside.close()


class TestConfig:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
            ("a." * 5000 + "b = 1", "a key has more than 32 parts"),
            ('[library]\nfolders = ["~nosuchuser/x"]', "no such user"),
            ('[library]\nfolders = ["/a\\u0000b"]', "NUL"),
            ("port = " + "9" * 10_000, "a value: not TOML"),
            ("[server]\nstall_seconds = inf", "server.stall_seconds"),
            ("\udcff", "is not UTF-8"),
        ],
        ids=["lists", "tables", "user", "nul", "digits", "inf", "latin"],
    )
    def test_errors_of_the_config_are_one_line(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ConfigError, match=message) as refused:
            read_settings(Home(tmp_path))
        assert "config.toml" in refused.value.message and refused.value.hint and len(refused.value.message) < 500

    @pytest.mark.parametrize("kind", ["fifo", "large", "folder"])
    def test_large_and_irregular_config_files_are_refused(self, tmp_path: Path, kind: str) -> None:
        match kind:
            case "fifo":
                os.mkfifo(tmp_path / "config.toml")
            case "large":
                (tmp_path / "config.toml").write_bytes(b"#" * 2_000_000)
            case "folder":
                (tmp_path / "config.toml").mkdir()
        with pytest.raises(ConfigError, match="cannot read"):
            read_settings(Home(tmp_path))

    def test_a_link_of_a_dotfile_manager_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "dotfiles.toml").write_text("[server]\nport = 4321")
        (tmp_path / "config.toml").symlink_to("dotfiles.toml")
        assert read_settings(Home(tmp_path)).server.port == 4321
        (tmp_path / "dotfiles.toml").unlink()
        assert read_settings(Home(tmp_path)) == Settings()


def test_unknown_users_in_variables_and_settings_of_other_programs_are_ignored(tmp_path: Path) -> None:
    assert hub_cache({"HF_HUB_CACHE": "~nosuchuser/x"}) == Path("~nosuchuser/x")
    assert hub_cache({"HF_HOME": "~nosuchuser/x"}) == Path("~nosuchuser/x/hub")
    (tmp_path / ".lmstudio").mkdir()
    for folder in ("~nosuchuser/x", "a\\u0000b", "\\ud83d"):
        (tmp_path / ".lmstudio" / "settings.json").write_text(f'{{"downloadsFolder": "{folder}"}}')
        assert len(lmstudio_folders({"HOME": str(tmp_path)})) == 2  # the default ones


def test_hub_cache_of_the_settings_precedes_the_variables(tmp_path: Path) -> None:
    environ = {"HF_HUB_CACHE": "/variable", "HF_HOME": "/home-variable"}
    assert hub_cache(environ, str(tmp_path)) == tmp_path
    assert hub_cache(environ) == Path("/variable")
    assert hub_cache({"HF_HOME": "/home-variable"}) == Path("/home-variable/hub")
    (tmp_path / "config.toml").write_text('[library]\ncache = "relative/folder"')
    with pytest.raises(ConfigError, match="must be an absolute path"):
        read_settings(Home(tmp_path))
