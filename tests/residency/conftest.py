"""Fixtures of this folder: pools over fake workers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.residency.fakes import ONE_FITS, TWO_FIT, Floor


@pytest.fixture
def make_floor(tmp_path: Path) -> Iterator[Callable[..., Floor]]:
    """Yield a function that makes a pool with `cap` bytes of memory. Queued work is completed after the test."""
    made: list[Floor] = []

    def make(cap: int, **fields: Any) -> Floor:
        folder = tmp_path / f"floor-{len(made)}"
        folder.mkdir()
        made.append(Floor(folder, cap, **fields))
        return made[-1]

    yield make
    for floor in made:
        floor.loop.settle()


@pytest.fixture
def floor(make_floor: Callable[..., Floor]) -> Floor:
    """Return a pool whose memory holds one model."""
    return make_floor(ONE_FITS)


@pytest.fixture
def wide(make_floor: Callable[..., Floor]) -> Floor:
    """Return a pool whose memory holds two models."""
    return make_floor(TWO_FIT)
