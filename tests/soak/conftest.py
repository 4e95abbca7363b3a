"""Fixtures of the soaks: a cache with three random-weight models, and daemons that serve them."""

from pathlib import Path

import pytest

from tests.end_to_end.conftest import daemon as daemon
from tests.end_to_end.conftest import own_daemon as own_daemon

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
