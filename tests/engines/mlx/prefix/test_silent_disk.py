"""A disk that does not answer, such as a hung mount: it costs a short wait once, and is used again when it answers."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.disk_thread import ANSWER_SECONDS
from lmx_daemon.engines.mlx.prefix.disk_tier import DiskTier
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from tests.engines.mlx.prefix.disk_cache import PATIENCE, PLENTY, DiskCache, numbers
from tests.engines.mlx.prefix.test_sharing import Rows

TOKENS, CACHE = numbers(4 * BLOCK)


class HangingDisk(DiskTier):
    """A disk tier whose reads wait while `hangs` is set, as for a mount that does not answer."""

    def __init__(self, *options: Any, **more: Any) -> None:
        self.responds = threading.Event()
        super().__init__(*options, **more)

    def _read(self, fetch: DiskRead) -> None:
        self.responds.wait(PATIENCE)
        super()._read(fetch)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def hanging(disk_cache: Callable[..., DiskCache], tmp_path: Path, lines: list[str]) -> Iterator[HangingDisk]:
    """Return a disk tier that holds TOKENS and does not answer."""
    first = disk_cache()
    first.store(TOKENS, CACHE)
    first.close()
    disk = HangingDisk(tmp_path / "prefix", "model", PLENTY, lines.append, lambda: None, reserve=0)
    assert disk.ready.wait(PATIENCE)
    yield disk
    disk.responds.set()
    disk.close(PATIENCE)


def waited(sharing: PrefixSharing) -> float:
    """Return the seconds that a request waits before it may start."""
    begun = time.monotonic()
    lookup = sharing.look_up("", [*TOKENS, 1])
    while not sharing.may_start(lookup, Rows()):
        time.sleep(0.01)
        assert time.monotonic() - begun < PATIENCE
    return time.monotonic() - begun


def test_a_silent_disk_delays_one_request_shortly_and_the_next_ones_not_at_all(
    hanging: HangingDisk, lines: list[str]
) -> None:
    sharing = PrefixSharing(PrefixCache(PLENTY, "model", hanging), hanging)
    assert ANSWER_SECONDS / 2 < waited(sharing) < PATIENCE / 2
    assert sharing.disk_silent
    assert max(waited(sharing) for _ in range(5)) < ANSWER_SECONDS / 2
    assert len(lines) == 1 and "does not answer" in lines[0]


def test_a_disk_that_answers_again_is_used_again(hanging: HangingDisk, lines: list[str]) -> None:
    sharing = PrefixSharing(PrefixCache(PLENTY, "model", hanging), hanging)
    waited(sharing)
    hanging.responds.set()
    deadline = time.monotonic() + PATIENCE
    while sharing.disk_silent:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waited(sharing)
    hit = sharing.find("", [*TOKENS, 1])
    assert hit is not None and hit.length == len(TOKENS)
    assert len(lines) == 2 and "answers again" in lines[1]


def test_the_end_of_a_worker_does_not_wait_for_a_silent_disk(hanging: HangingDisk) -> None:
    waited(PrefixSharing(PrefixCache(PLENTY, "model", hanging), hanging))
    begun = time.monotonic()
    hanging.close(PATIENCE)
    assert time.monotonic() - begun < PATIENCE / 2


def test_blocks_are_distrusted_without_access_to_a_silent_disk(hanging: HangingDisk, tmp_path: Path) -> None:
    sharing = PrefixSharing(PrefixCache(PLENTY, "model", hanging), hanging)
    hanging.responds.set()
    waited(sharing)
    files = list((tmp_path / "prefix" / "model").glob("*.kv"))
    hanging.responds.clear()
    sharing.prefixes.clear()
    sharing.look_up("", [*TOKENS, 1])
    begun = time.monotonic()
    sharing.distrust()
    assert time.monotonic() - begun < ANSWER_SECONDS / 2
    hanging.responds.set()
    hanging.close(PATIENCE)
    assert files and not any(file.exists() for file in files)
