"""The unmodified SDKs for Node against the real daemon and a scripted model: a whole conversation each."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_model import AGENT, build_agent_model, call
from tests.end_to_end.running import Daemon, wait_until
from tests.npm import node_modules
from tests.scripted import Script

SCRIPTS_OF_NODE = Path(__file__).parent / "node"
PACKAGES = {"openai": "6.x", "@anthropic-ai/sdk": "1.x", "ai": "6.x", "@ai-sdk/openai-compatible": "2.x"}
SCRIPTS = {
    "": "Hello there.",
    "casethink": "<think>Two and two.</think>It is four.",
    "casejson": '{"city": "Paris"}',
    "caseforever": Script([" word"] * 20, ends=False),
    "caseweather": "I look.\n" + call("get_weather", '{"city": "Paris"}'),
    "casesunny": "It is sunny.",
}


@pytest.fixture(scope="module")
def packages() -> Path:
    return node_modules(PACKAGES)


@pytest.fixture(scope="module")
def daemon(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("node")
    build_agent_model(root, SCRIPTS)
    running = Daemon(environment={"HF_HUB_CACHE": str(root)}, config="[engine]\nwarm_spare = false\n").start()
    yield running
    assert running.stop() == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["openai", "anthropic", "vercel"])
def test_conversation(daemon: Daemon, packages: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(SCRIPTS_OF_NODE / f"{name}.mjs", tmp_path)  # Node looks for packages beside the script
    os.symlink(packages / "node_modules", tmp_path / "node_modules")
    program = ["node", str(tmp_path / f"{name}.mjs"), daemon.address, AGENT]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    wait_until(lambda: not running(daemon), 30, "cancelled requests are gone")


def running(daemon: Daemon) -> list[dict[str, str]]:
    """Return the requests that have not ended."""
    rows: list[dict[str, str]] = daemon.admin("GET", "/admin/requests")
    return [row for row in rows if row["state"] not in ("finished", "failed", "cancelled")]
