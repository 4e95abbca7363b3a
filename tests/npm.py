"""Node packages for tests: installed from the environment's own registry into a folder outside the repository."""

import fcntl
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

INSTALL_SECONDS = 300
MISSING = "node and npm are not installed"
UNREACHABLE = "the Node packages cannot be installed"


def node_modules(packages: Mapping[str, str]) -> Path:
    """Return a folder with `packages`, which map a name to a version. It is kept for later runs.

    Skip the test if Node is missing or the registry cannot be reached.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip(MISSING)
    key = hashlib.sha256(json.dumps(dict(packages), sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"lmx-node-{os.getuid()}" / key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # two test processes may need the same packages
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            install(packages, folder)
            (folder / "complete").touch()
    return folder


def install(packages: Mapping[str, str], folder: Path) -> None:
    """Install the packages to `folder`. No script of a package runs."""
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": dict(packages)}))
    program = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    home = pwd.getpwuid(os.getuid()).pw_dir  # npm's settings are there; tests have a home of their own
    try:
        subprocess.run(
            program,
            cwd=folder,
            env=os.environ | {"HOME": home},
            capture_output=True,
            check=True,
            timeout=INSTALL_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(UNREACHABLE)
