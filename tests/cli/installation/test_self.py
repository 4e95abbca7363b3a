"""`lmx self` in a real virtual environment, whose pip only records its arguments."""

import json
import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PIP = "import json, os, sys\nopen(os.environ['PIP_CALLS'], 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"


class TestVirtualEnvironment:
    @pytest.fixture
    def python(self, tmp_path: Path) -> Path:
        """Make an environment in which pip installed lmx from an index, and return its interpreter."""
        venv.create(tmp_path / "env", with_pip=False)
        (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
        metadata = packages / "lmx-0.0.1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lmx\nVersion: 0.0.1\n")
        (metadata / "INSTALLER").write_text("pip\n")
        (packages / "pip").mkdir()
        (packages / "pip" / "__init__.py").touch()  # otherwise a later pip of the path would run
        (packages / "pip" / "__main__.py").write_text(PIP)
        here = [str(ROOT), *(path for path in (*sys.path, *site.getsitepackages()) if path.endswith("site-packages"))]
        (packages / "here.pth").write_text("\n".join(here) + "\n")
        return tmp_path / "env" / "bin" / "python"

    @staticmethod
    def lmx(python: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        place = python.parents[2]
        environment = os.environ | {
            "HOME": str(place), "LMX_HOME": str(place / "home"), "PIP_CALLS": str(place / "calls"),
            "HF_HOME": str(place),
        }  # fmt: skip
        command = [str(python), "-m", "lmx_cli.main", "self", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL
        )

    @staticmethod
    def calls(python: Path) -> list[list[str]]:
        file = python.parents[2] / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def test_update_and_uninstall_run_pip(self, python: Path) -> None:
        shown = self.lmx(python, "update", "--dry-run")
        assert shown.stdout.endswith("-m pip install --upgrade lmx\n") and self.calls(python) == [], shown.stderr
        done = json.loads(self.lmx(python, "update", "--json").stdout)
        assert (done["origin"], done["done"]) == ("pip", True)
        (python.parents[2] / "home").mkdir(mode=0o700)
        unconfirmed = self.lmx(python, "uninstall")
        assert unconfirmed.returncode == 2 and "settings, keys, chats" in unconfirmed.stderr
        removed = self.lmx(python, "uninstall", "--yes")
        assert removed.returncode == 0, removed.stderr
        assert self.calls(python) == [["install", "--upgrade", "lmx"], ["uninstall", "-y", "lmx"]]
        assert (python.parents[2] / "home").is_dir()
