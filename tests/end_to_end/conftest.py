"""Daemons for end-to-end tests, and a cache with a random-weight model whose answers are long."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import Daemon

TALKER = "tests/talker"
"""Random-weight llama in the cache. Its answers are random text of max_tokens tokens."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Hugging Face cache that holds TALKER."""
    from tests.models import build_cached_model

    root = tmp_path_factory.mktemp("cache")
    build_cached_model("llama", root, TALKER, ends=False)
    return root


@pytest.fixture(scope="module")
def daemon(cache: Path) -> Iterator[Daemon]:
    """Yield the daemon of the tests of one file that do not change its state."""
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)}).start()
    yield running
    assert running.stop() == 0
    assert not os.path.exists(running.home / "lmx.sock")


@pytest.fixture
def own_daemon(cache: Path) -> Iterator[Daemon]:
    """Yield a daemon for a test that kills, drains or configures it. The test calls start()."""
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)})
    yield running
    if running.process is not None:
        running.stop()
