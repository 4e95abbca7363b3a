"""Requests that wait for the disk: shared prefixes are read once, and no block that arrives is lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.engines.mlx.prefix.block_codec import load_block
from lmx_daemon.engines.mlx.prefix.block_files import BlockFile
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from tests.engines.mlx.prefix.disk_cache import PATIENCE, PLENTY, DiskCache, content, numbers
from tests.engines.mlx.prefix.test_sharing import Rows


class TestWaitingRequests:
    """Requests whose prefix is on disk, and that wait for a long time."""

    def reuse(
        self, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch, **options: Any
    ) -> tuple[PrefixSharing, DiskCache]:
        for variant in range(3):
            disk_cache().store(*numbers(8 * BLOCK, variant))
        again = disk_cache(**options)
        self.read: list[str] = []

        def counted(folder: Path, stored: BlockFile, *more: Any) -> Any:
            self.read.append(stored.name)
            return load_block(folder, stored, *more)

        monkeypatch.setattr("lmx_daemon.engines.mlx.prefix.disk_thread.load_block", counted)
        return PrefixSharing(again.prefixes, again.disk), again

    def wait(self, disk_cache: DiskCache) -> None:
        with disk_cache.disk._changed:
            assert disk_cache.disk._changed.wait_for(
                lambda: not disk_cache.disk._reads and not disk_cache.disk._busy, PATIENCE
            )

    def test_a_shared_prefix_is_read_once(
        self, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sharing, again = self.reuse(disk_cache, monkeypatch)
        beginning = numbers(6 * BLOCK)[0]
        arrivals = [sharing.look_up("", [*beginning, 7, n]) for n in range(9)]
        arrivals.append(sharing.look_up("", numbers(8 * BLOCK)[0]))
        started = [False] * len(arrivals)
        while not all(started):
            self.wait(again)
            started = [done or sharing.may_start(each, Rows()) for each, done in zip(arrivals, started, strict=True)]
        assert [sharing.start(each).cached for each in arrivals] == [6 * BLOCK] * 9 + [8 * BLOCK - 1]
        assert len(self.read) == len(set(self.read)) == 8

    def test_blocks_read_for_many_requests_stay_within_the_bound(
        self, disk_cache: Callable[..., DiskCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe = PrefixCache(PLENTY)
        probe.store("", *numbers(8 * BLOCK))
        sharing, again = self.reuse(disk_cache, monkeypatch, memory=probe.size * 5 // 2)
        arrivals = [sharing.look_up("", [*numbers(8 * BLOCK, variant)[0], 5]) for variant in range(3)]
        self.wait(again)
        sharing.publish()
        assert all(each.disk_read is not None and not each.disk_read.loaded for each in arrivals)
        assert 2 * probe.size <= sharing.size <= probe.size * 5 // 2
        for each in arrivals:  # the blocks of the first are evicted by then, and are read again
            while not sharing.may_start(each, Rows()):
                self.wait(again)
            assert sharing.start(each).cached == 8 * BLOCK


class Late(DiskRead):
    """A read that is done right after `done` has been read as False."""

    seen = False

    @property  # type: ignore[override]
    def done(self) -> bool:
        seen, self.seen = self.seen, True
        return seen

    @done.setter
    def done(self, done: bool) -> None:
        pass


def test_a_block_that_arrives_during_a_check_is_not_lost(disk_cache: Callable[..., DiskCache]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    disk_cache().store(tokens, cache)
    again = disk_cache()
    fetch = again.disk.fetch(again.prefixes, "", [*tokens, 1])
    assert fetch is not None and again.woken.wait(PATIENCE)
    again.disk._pending = [Late(fetch.namespace, fetch.data, fetch.wanted, fetch.loaded)]
    again.disk.collect(again.prefixes)
    again.disk.collect(again.prefixes)
    assert content(again, [*tokens, 1]) == tokens and not again.disk._pending
