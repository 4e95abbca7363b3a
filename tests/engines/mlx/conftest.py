"""Fixtures of the engine's tests: a folder for models, and successive prefix caches over one folder on disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.mlx.prefix.disk_cache import DiskCache


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def disk_cache(tmp_path: Path) -> Iterator[Callable[..., DiskCache]]:
    made: list[DiskCache] = []

    def make(**options: Any) -> DiskCache:
        for before in made:
            before.close()
        made.append(DiskCache(tmp_path / "prefix", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
