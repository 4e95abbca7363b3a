"""Fixtures of the tests of pulls."""

import os
from collections.abc import AsyncIterator

import pytest

from lmx_daemon.library.pull.pull_queue import PullQueue
from tests.library.conftest import StandIn
from tests.library.pull.pulling import SLOW


@pytest.fixture
async def slow_pulls(hub: StandIn, pulls: PullQueue) -> AsyncIterator[PullQueue]:
    hub.faults(rate=SLOW)
    yield pulls
    await pulls.close()


@pytest.fixture(scope="module")
def other_repos(hub_process: StandIn) -> list[str]:
    """Make three small repositories, and return their ids."""
    repos = ["queue/a", "queue/b", "queue/c"]
    for repo in repos:
        folder = hub_process.root / repo
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(os.urandom(200_000))
    return repos
