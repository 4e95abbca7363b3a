"""The wheel and the sdist: what they contain, and that lmx runs from the wheel in an environment of its own."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from lmx_daemon.contract.version import VERSION

ROOT = Path(__file__).parents[2]
NEEDED = (
    "lmx_daemon/py.typed", "lmx_tui/py.typed", "lmx_cli/py.typed", "lmx_daemon/library/guide/config.json",
    "lmx_daemon/library/guide/model.safetensors", "lmx_daemon/library/guide/tokenizer.json",
)  # fmt: skip


@pytest.mark.slow
class TestPackages:
    @pytest.fixture(scope="class")
    def built(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Build both packages, and return their folder."""
        folder = tmp_path_factory.mktemp("dist")
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        return folder

    def test_wheel_has_the_themes_the_built_in_model_and_the_marks_of_types(self, built: Path) -> None:
        names = set(zipfile.ZipFile(built / f"lmx-{VERSION}-py3-none-any.whl").namelist())
        themes = {f"lmx_tui/themes/{file.name}" for file in (ROOT / "themes").iterdir() if file.is_file()}
        assert themes and {*NEEDED, *themes} <= names
        assert not [name for name in names if name.startswith(("tests/", "training/", "scripts/"))]

    def test_sdist_has_the_pinned_versions(self, built: Path) -> None:
        with tarfile.open(built / f"lmx-{VERSION}.tar.gz") as archive:
            names = set(archive.getnames())
        assert {f"lmx-{VERSION}/constraints.txt", f"lmx-{VERSION}/pyproject.toml", f"lmx-{VERSION}/LICENSE"} <= names

    def test_lmx_of_the_wheel_prints_its_version(self, built: Path, tmp_path: Path) -> None:
        venv.create(tmp_path / "env", with_pip=False)
        (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
        zipfile.ZipFile(built / f"lmx-{VERSION}-py3-none-any.whl").extractall(packages)
        command = [str(tmp_path / "env" / "bin" / "python"), "-c", "from lmx_cli.main import main; main()", "--version"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ended.stdout == f"lmx {VERSION}\n", ended.stderr
