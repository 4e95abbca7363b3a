"""`lmx move` against a real daemon: the copy, the restart with the new folder, and the deletion at the source."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import LMX, short_home
from tests.library.repositories import make_cached

ONE = "1" * 40


class TestMove:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Iterator[Path]:
        """Return a home; the daemon that a command has started is stopped at the end."""
        make_cached(tmp_path / "cache", "maker/one", ONE, side=100)
        home = short_home()
        (home / "config.toml").write_text("# mine\n[server]\nport = 0\n")
        yield home
        self.lmx(home, tmp_path, "stop")

    @staticmethod
    def lmx(home: Path, tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"LMX_HOME": str(home), "HF_HUB_CACHE": str(tmp_path / "cache")}
        return subprocess.run(
            [*LMX, *arguments], env=environment, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL
        )

    def test_models_are_moved_and_the_daemon_uses_the_new_folder(self, home: Path, tmp_path: Path) -> None:
        target = tmp_path / "disk"
        plan = self.lmx(home, tmp_path, "move", str(target), "--dry-run", "--json")
        found = json.loads(plan.stdout)
        assert (found["models"], found["shared"], found["same_disk"]) == (1, True, True)
        refused = self.lmx(home, tmp_path, "move", str(target))
        assert refused.returncode == 2 and "other programs" in refused.stderr and not target.exists()
        before = json.loads(self.lmx(home, tmp_path, "status", "--json").stdout)["status"]["pid"]
        moved = self.lmx(home, tmp_path, "move", str(target), "--yes")
        assert moved.returncode == 0, moved.stderr
        assert moved.stdout.startswith("1 model, ") and f"HF_HUB_CACHE={target}" in moved.stderr
        after = json.loads(self.lmx(home, tmp_path, "status", "--json").stdout)["status"]["pid"]
        assert before != after
        (model,) = [
            row for row in json.loads(self.lmx(home, tmp_path, "ls", "--json").stdout) if row["source"] == "hub"
        ]
        assert model["id"] == "maker/one" and model["path"].startswith(str(target))
        assert not (tmp_path / "cache" / "models--maker--one").exists()
        config = (home / "config.toml").read_text()
        assert config.startswith("# mine\n[server]\nport = 0\n") and f'cache = "{target}"' in config
        again = self.lmx(home, tmp_path, "move", str(target), "--json")
        assert again.returncode == 1 and json.loads(again.stdout)["error"]["code"] == "conflict"

    def test_move_that_was_killed_before_the_deletion_is_finished_by_the_same_command(
        self, home: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "disk"
        record = {"source": str(tmp_path / "cache"), "target": str(target), "begun_at": 0.0}
        (home / "library").mkdir()
        (home / "library" / "move.json").write_text(json.dumps(record))
        target.mkdir()
        self.lmx(home, tmp_path, "config", "set", "library.cache", str(target))
        moved = self.lmx(home, tmp_path, "move", str(target), "--json")
        assert moved.returncode == 0, moved.stderr
        assert json.loads(moved.stdout)["state"] == "moved"
        assert (target / "models--maker--one" / "snapshots" / ONE / "model.safetensors").is_file()
        assert not (tmp_path / "cache").exists() and not (home / "library" / "move.json").exists()

    def test_folder_on_a_disk_that_is_not_mounted_is_refused(self, home: Path, tmp_path: Path) -> None:
        found = self.lmx(home, tmp_path, "move", str(tmp_path / "no" / "disk"), "--yes", "--json")
        error = json.loads(found.stdout)["error"]
        assert error["code"] == "disk_error" and "is the disk mounted?" in error["hint"]
