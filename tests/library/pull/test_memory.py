"""Memory and parallelism of pulls."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.library.conftest import StandIn
from tests.library.pull.pulling import PULL_PROGRAM

PEAK = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
MEGABYTES = 120
ALLOWED_GROWTH = 24 * 1024
"""Upper bound on the growth in the unit of ru_maxrss (KiB on Linux): a fifth of the fetched bytes."""


@pytest.fixture
def two_files(hub: StandIn) -> Iterator[StandIn]:
    """Add memory/little and memory/much, each with two weight files."""
    for name, megabytes in (("little", 1), ("much", MEGABYTES)):
        folder = hub.root / "memory" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        for number in (1, 2):
            (folder / f"model-{number}.safetensors").write_bytes(os.urandom(megabytes * 500_000))
    yield hub
    for file in (hub.root / "memory").rglob("*.safetensors"):
        file.unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_memory_does_not_grow_with_the_size_of_files(
    two_files: StandIn, environ: dict[str, str], tmp_path: Path
) -> None:
    def peak(repo: str) -> int:
        command = [sys.executable, "-c", PULL_PROGRAM + PEAK, repo, str(tmp_path / repo)]
        ended = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=120)
        assert "done None" in ended.stdout, ended.stdout + ended.stderr
        return int(ended.stdout.split()[-1])

    assert peak("memory/much") - peak("memory/little") < ALLOWED_GROWTH


def test_two_large_files_are_fetched_at_the_same_time(
    two_files: StandIn, environ: dict[str, str], tmp_path: Path
) -> None:
    """Both files are requested from a Hub that stalls."""
    two_files.faults(stall_after=0.5, stall_times=1, stall_seconds=1.5)
    two_files.requests()
    command = [sys.executable, "-c", PULL_PROGRAM, "memory/much", str(tmp_path / "records")]
    process = subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE, text=True)
    asked: set[str] = set()
    while len(asked) < 2 and process.poll() is None:
        asked |= {r["path"] for r in two_files.requests() if r["path"].startswith("/cdn/")}
    whole = list((Path(environ["HF_HUB_CACHE"]) / "models--memory--much" / "blobs").glob("?" * 64))
    process.kill()
    process.communicate()
    assert len(asked) == 2 and whole == [], "the second was asked for before the first was there"
