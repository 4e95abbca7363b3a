"""A pull whose daemon is killed repeatedly: the model appears once it is complete, and its files are correct."""

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.end_to_end.running import Daemon, wait_until
from tests.library.conftest import StandIn
from tests.library.conftest import hub_process as hub_process
from tests.models import build_model

pytestmark = pytest.mark.slow
LARGE = "maker/large"
KILLS = 12
RATE = 3_000_000
"""Rate in bytes per second, so that the pull lasts for all kills."""


@pytest.fixture(scope="module")
def repository(hub_process: StandIn) -> Path:
    """Create a model of about 100 MB that can be loaded, and return its folder."""
    folder = hub_process.root / LARGE
    shape = {"hidden_size": 256, "intermediate_size": 8192, "num_attention_heads": 16, "num_key_value_heads": 16}
    build_model("llama", folder, ends=False, num_hidden_layers=4, **shape)
    assert 90e6 < (folder / "model.safetensors").stat().st_size < 150e6
    return folder


@pytest.fixture
def daemon(hub_process: StandIn, tmp_path: Path) -> Iterator[Daemon]:
    environment = {
        "HF_ENDPOINT": hub_process.endpoint,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "home"),
    }
    running = Daemon(environment=environment, config="[library]\nreserve_bytes = 0\n[engine]\nwarm_spare = false\n")
    yield running
    if running.process is not None:
        running.stop()


def pulls(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.admin("GET", "/admin/pulls")
    return found


def shown(daemon: Daemon) -> bool:
    """Return whether a client finds the model, by its id (which starts a scan of the cache) or in the list."""
    found = daemon.get(f"/v1/models/{LARGE}")[0] == 200
    return found or LARGE in [model["id"] for model in daemon.get("/v1/models")[1]["data"]]


def whole_files(cache: Path) -> list[Path]:
    """Return the blobs with final names, and assert that the hash of each equals its name."""
    blobs = [blob for blob in cache.glob("models--*/blobs/*") if "." not in blob.name]
    for blob in blobs:
        content = blob.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        assert blob.name in (hashlib.sha256(content).hexdigest(), git)
    return blobs


def assert_complete(cache: Path, repository: Path) -> None:
    """Assert that there is one snapshot, with the files of the repository."""
    (snapshot,) = cache.glob("models--*/snapshots/*")
    assert sorted(file.name for file in snapshot.iterdir()) == sorted(file.name for file in repository.iterdir())
    for file in repository.iterdir():
        assert (snapshot / file.name).read_bytes() == file.read_bytes()


def test_a_pull_survives_12_kills_of_its_daemon(daemon: Daemon, hub_process: StandIn, repository: Path) -> None:
    rng, cache = random.Random(12), Path(daemon.environment["HF_HUB_CACHE"])
    hub_process.faults(rate=RATE)
    daemon.start()
    daemon.admin("POST", "/admin/pulls", {"repo": LARGE})
    kept: list[int] = []
    for kill in range(KILLS):
        wait_until(lambda: pulls(daemon)[0]["state"] == "downloading", 20, "the pull goes on")
        if kill % 3:  # otherwise kill before the first byte or during the listing
            time.sleep(rng.random() * 1.2)
        assert not shown(daemon)
        assert daemon.process is not None
        daemon.process.kill()
        daemon.process.wait()
        assert not list(cache.glob("models--*/snapshots/*/model.safetensors"))
        whole_files(cache)
        kept.append(sum(file.stat().st_size for file in cache.glob("models--*/blobs/*")))
        daemon.start()
    hub_process.faults()

    def done() -> bool:
        if shown(daemon):
            assert_complete(cache, repository)
        return bool(pulls(daemon)[0]["state"] == "done")

    wait_until(done, 60, "the pull is done")
    assert kept == sorted(kept) and kept[-1] > 5_000_000, f"bytes were lost: {kept}"
    assert pulls(daemon)[0]["resumed"] > 0.9 * kept[-1]
    body = {"model": LARGE, "messages": [{"role": "user", "content": "x"}], "max_tokens": 3}
    assert httpx2.post(f"{daemon.address}/v1/chat/completions", json=body, timeout=60).status_code == 200
    assert_complete(cache, repository)
    assert len(whole_files(cache)) == len({file.read_bytes() for file in repository.iterdir()})
    assert not list(cache.glob("models--*/blobs/*.incomplete"))
    verified = daemon.lmx("verify", LARGE)
    assert verified.returncode == 0, verified.stderr
