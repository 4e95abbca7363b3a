"""Fixtures of this folder: pools over fake workers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.residency.fakes import ONE_FITS, TWO_FIT, Harness


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[Callable[..., Harness]]:
    """Yield a function that makes a pool with `cap` bytes of memory. Queued work is completed after the test."""
    made: list[Harness] = []

    def make(cap: int, **fields: Any) -> Harness:
        folder = tmp_path / f"harness-{len(made)}"
        folder.mkdir()
        made.append(Harness(folder, cap, **fields))
        return made[-1]

    yield make
    for harness in made:
        harness.loop.settle()


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    """Return a pool whose memory holds one model."""
    return make_harness(ONE_FITS)


@pytest.fixture
def harness_for_two(make_harness: Callable[..., Harness]) -> Harness:
    """Return a pool whose memory holds two models."""
    return make_harness(TWO_FIT)
