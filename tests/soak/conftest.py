"""Fixtures of the soaks: a cache with three random-weight models, and daemons that serve them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import Daemon

TALKER = "tests/talker"
SECOND = "tests/second"
THIRD = "tests/third"
MODELS = {TALKER: "llama", SECOND: "qwen3", THIRD: "gemma3_text"}
"""Architecture of each model. None has an end-of-text token: every answer has `max_tokens` tokens."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Hugging Face cache that holds MODELS."""
    from tests.models import build_cached_model

    root = tmp_path_factory.mktemp("cache")
    for seed, (repo, architecture) in enumerate(MODELS.items()):
        build_cached_model(architecture, root, repo, ends=False, seed=seed)
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
    """Yield a daemon that a test configures, kills or drains. The test calls start()."""
    running = Daemon(environment={"HF_HUB_CACHE": str(cache)})
    yield running
    if running.process is not None:
        running.stop()
