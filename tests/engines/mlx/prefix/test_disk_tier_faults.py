"""Faults of the disk thread and of steps: their cost, and that no request keeps waiting."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.cache_layout import CacheLayout
from lmx_daemon.engines.mlx.prefix.disk_thread import LEFT_ALONE
from lmx_daemon.engines.mlx.prefix.nodes import Node
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from tests.engines.mlx.prefix.disk_cache import PATIENCE, PLENTY, DiskCache, content, failing_with, numbers, read_ahead


class TestDiskThreadFaults:
    def again(
        self, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> DiskCache:
        tokens, cache = numbers(4 * BLOCK)
        disk_cache().store(tokens, cache)
        again = disk_cache()
        with monkeypatch.context() as patched:
            patched.setattr("lmx_daemon.engines.mlx.prefix.disk_thread.load_block", failing_with(error))
            assert again.restore([*tokens, 1]) == 0
        assert len(again.warnings) == 1 and str(error) in again.warnings[0]
        again.store(*numbers(4 * BLOCK, 1))
        return again

    @pytest.mark.parametrize("error", [RuntimeError("[malloc] Unable to allocate"), MemoryError("too much")])
    def test_a_lack_of_memory_drops_one_block(
        self, error: Exception, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again = self.again(disk_cache, monkeypatch, error)
        again.close()
        again = disk_cache()
        assert again.restore([*numbers(4 * BLOCK, 1)[0], 1]) == again.restore([*numbers(4 * BLOCK)[0], 1]) == 4 * BLOCK

    def test_a_lack_of_memory_ends_reading_ahead(
        self, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk_cache().store(*numbers(4 * BLOCK))
        again = disk_cache()
        monkeypatch.setattr(
            "lmx_daemon.engines.mlx.prefix.disk_thread.load_block", failing_with(MemoryError("too much"))
        )
        read_ahead(again)
        assert len(again.warnings) == 1

    def test_an_unexpected_error_stops_the_disk_tier_and_frees_its_waiters(
        self, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again = self.again(disk_cache, monkeypatch, KeyError("a fault"))
        assert again.restore([*numbers(4 * BLOCK)[0], 1]) == 0
        assert content(again, numbers(4 * BLOCK, 1)[0])
        again.close()
        assert len(again.files()) == 4 and LEFT_ALONE in again.warnings[0]

    def test_the_queues_of_a_stopped_disk_tier_are_dropped(
        self, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again, begun, queued = disk_cache(), threading.Event(), threading.Event()

        def failing(*_: Any) -> None:
            begun.set()
            queued.wait(PATIENCE)
            raise KeyError("a fault")

        monkeypatch.setattr("lmx_daemon.engines.mlx.prefix.disk_thread.write_block", failing)
        again.store(*numbers(4 * BLOCK))
        again.prefixes.publish(everything=True)
        assert begun.wait(PATIENCE)
        again.disk.read_ahead(b"root", PLENTY)
        again.store(*numbers(4 * BLOCK, 1))
        again.prefixes.publish(everything=True)
        queued.set()
        with again.disk._changed:  # waiting requests are woken
            assert again.disk._changed.wait_for(lambda: not again.disk._busy, PATIENCE)
            assert not (again.disk._writes or again.disk._touches or again.disk._queued or again.disk._plan)
        assert again.disk.fetch(again.prefixes, "", numbers(4 * BLOCK, 1)[0]) is None


def test_after_a_failed_step_blocks_that_cannot_be_deleted_are_not_used(
    disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, cache = numbers(4 * BLOCK)
    disk_cache().store(tokens, cache)
    again = disk_cache()
    assert again.restore([*tokens, 1]) == 4 * BLOCK
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing_with(PermissionError()))
        again.disk.distrust()
    again.prefixes.clear()
    assert again.restore([*tokens, 1]) == 0


def test_after_a_failed_step_restored_blocks_are_deleted(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    disk_cache().store(tokens, cache)
    again = disk_cache()
    assert again.restore([*tokens, 1]) == 4 * BLOCK
    again.disk.distrust()
    again.prefixes.clear()
    with again.disk._changed:
        assert again.disk._changed.wait_for(lambda: not again.disk._writes and not again.disk._busy, PATIENCE)
    assert again.files() == [] and again.restore([*tokens, 1]) == 0


class Failing:
    """Raise as MLX does when an asynchronous cut that failed is evaluated."""

    def offer(self, node: Node, layout: CacheLayout) -> None:
        raise RuntimeError("[malloc] Unable to allocate")

    def used(self, nodes: Sequence[Node]) -> None:
        pass


def test_an_asynchronous_cut_that_fails_clears_the_cache_and_fails_no_request() -> None:
    prefixes = PrefixCache(PLENTY, "model", Failing())
    sharing = PrefixSharing(prefixes)
    for _ in range(2):
        sharing.store("", *numbers(2 * BLOCK))
        assert prefixes.size > 0
        sharing.publish()
        sharing.publish()
        assert prefixes.size == 0
    sharing.store("", *numbers(2 * BLOCK))
    sharing.close(PATIENCE)
    assert prefixes.size == 0
