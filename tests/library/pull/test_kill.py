"""Kills at random moments: no unverified file is visible after any of them, and the pull finishes in the end."""

import hashlib
import json
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from lmx_daemon.library.pull.pull_queue import PullQueue
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import WHOLE, folder_of, pull, pull_process, visible

HASH = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


def assert_all_verified(environ: dict[str, str]) -> None:
    """Check that every blob is verified, and that a snapshot has all files or does not exist."""
    assert visible(environ) in ([], WHOLE)
    for blob in folder_of(environ).glob("blobs/*"):
        if HASH.fullmatch(blob.name):
            content = blob.read_bytes()
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            assert blob.name in (hashlib.sha256(content).hexdigest(), git)
    for reference in folder_of(environ).glob("refs/*"):
        assert (folder_of(environ) / "snapshots" / reference.read_text()).is_dir()


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
async def test_kill_at_random_moments_leaves_only_verified_files(
    kills: int, hub: StandIn, environ: dict[str, str], pulls: PullQueue, tmp_path: Path
) -> None:
    rng = random.Random(kills)
    records = tmp_path / "killed"
    finished = 0
    hub.faults(rate=5_000_000)
    for _ in range(kills):
        process = pull_process(environ, records)
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        time.sleep(rng.random() * 0.6)
        process.kill()
        process.communicate()
        assert_all_verified(environ)
        jobs = [json.loads(file.read_text()) for file in records.glob("*.json")]
        assert len(jobs) == 1, "what was acknowledged is there, once"
        if jobs[0].get("wish") == "done":
            finished += 1
            assert visible(environ) == WHOLE
            shutil.rmtree(environ["HF_HUB_CACHE"])
            shutil.rmtree(records)
    hub.faults()
    process = pull_process(environ, records)
    assert process.communicate(timeout=30)[0].split()[1] == "done"
    assert_all_verified(environ)
    link = next(folder_of(environ).glob("snapshots/*/model.safetensors"))
    assert link.read_bytes() == (hub.root / REPO / "model.safetensors").read_bytes()
    assert (await pull(pulls)).to_check == 0
