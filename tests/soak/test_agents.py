"""Coding agents from the registries: each finishes a scripted task against the real daemon and reuses its prompt."""

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.npm import MISSING, UNREACHABLE

ROOT = Path(__file__).parents[2]
NO_INSTALLATION = 3
"""Exit code of scripts/agents.py if an agent cannot be installed."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("agent", ["codex", "claude", "opencode", "aider", "qwen-code", "continue"])
def test_agent_finishes_its_task_and_reuses_each_turn(agent: str) -> None:
    if agent != "aider" and not (shutil.which("node") and shutil.which("npm")):
        pytest.skip(MISSING)
    folder = Path(tempfile.gettempdir()) / f"lmx-agents-{getpass.getuser()}"
    program = [sys.executable, str(ROOT / "scripts" / "agents.py"), "--folder", str(folder)]
    home = pwd.getpwuid(os.getuid()).pw_dir  # the settings of npm and pip are there; tests have a home of their own
    done = subprocess.run(
        [*program, "--agent", agent, "--family", "json_tools"],
        env=os.environ | {"HOME": home},
        capture_output=True,
        text=True,
    )
    if done.returncode == NO_INSTALLATION:
        pytest.skip(UNREACHABLE)
    assert done.returncode == 0, done.stdout + done.stderr
