"""One daemon a file for the tests that do not harm it, and a cache with a random-weight model that talks for long."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import Daemon

TALKER = "tests/talker"
"""A random-weight llama in the cache: its answers are nonsense, and as long as max_tokens says."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Hugging Face cache that holds TALKER."""
    from tests.models import build_cached_model

    root = tmp_path_factory.mktemp("cache")
    build_cached_model("llama", root, TALKER, ends=False)
    return root


@pytest.fixture(scope="module")
def daemon(cache: Path) -> Iterator[Daemon]:
    """Shared by the tests that leave it as they found it."""
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)}).start()
    yield running
    assert running.stop() == 0
    assert not os.path.exists(running.home / "lmx.sock")


@pytest.fixture
def own_daemon(cache: Path) -> Iterator[Daemon]:
    """For a test that kills, drains or configures it: call start() first."""
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)})
    yield running
    if running.process is not None:
        running.stop()
