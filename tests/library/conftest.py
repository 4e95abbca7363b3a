"""Fixtures of the library's tests: a stand-in Hub in a process of its own, with a repository to pull."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.settings.schema import LibrarySettings

REPO = "maker/tiny"


@dataclass
class StandIn:
    """The stand-in Hub. Its repositories are folders under `root`."""

    root: Path
    endpoint: str

    def faults(self, **faults: Any) -> None:
        """Set the faults of the following responses; without arguments there are none."""
        self._ask("/_faults", json.dumps(faults).encode())

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests since the last call."""
        found: list[dict[str, Any]] = json.loads(self._ask("/_log"))
        return found

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self.endpoint + path, body, timeout=10) as answer:
            content: bytes = answer.read()
            return content


@pytest.fixture(scope="module")
def hub_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """Return a stand-in Hub without repositories."""
    root = tmp_path_factory.mktemp("hub")
    program = Path(__file__).parents[1] / "fakehub.py"
    process = subprocess.Popen([sys.executable, str(program), str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().split()[1]
    yield StandIn(root, f"http://127.0.0.1:{port}")
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def hub(hub_process: StandIn) -> Iterator[StandIn]:
    """Return a stand-in Hub with one repository and no faults."""
    import numpy

    folder = hub_process.root / REPO
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("# tiny")
    (folder / "training_args.bin").write_bytes(b"pickle")
    rng = numpy.random.default_rng(0)
    save_file({"weight": rng.random((900, 900), dtype=numpy.float32)}, folder / "model.safetensors")
    hub_process.faults()
    hub_process.requests()
    yield hub_process
    hub_process.faults()


@pytest.fixture
def environ(hub: StandIn, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a daemon that uses the stand-in Hub and an empty cache."""
    return {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}


@pytest.fixture
def pulls(environ: dict[str, str], tmp_path: Path) -> PullQueue:
    """Return an empty queue of pulls."""
    return PullQueue(lambda: LibrarySettings(reserve_bytes=0), environ, tmp_path / "records")
