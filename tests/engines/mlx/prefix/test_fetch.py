"""Requests that wait for the disk, however many: what they share is read once, and nothing that comes is lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.engines.mlx.prefix.blocks import load_block
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache
from lmx_daemon.engines.mlx.prefix.fetch import Fetch
from lmx_daemon.engines.mlx.prefix.files import Stored
from lmx_daemon.engines.mlx.prefix.keys import BLOCK
from lmx_daemon.engines.mlx.prefix.sharing import Reuse
from tests.engines.mlx.prefix.test_sharing import Rows
from tests.engines.mlx.shelf import PATIENCE, PLENTY, Shelf, content, numbers


class TestManyThatWait:
    """Requests that the disk has something for, and that may not begin for long."""

    def reuse(
        self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch, **options: Any
    ) -> tuple[Reuse, Shelf]:
        for variant in range(3):
            shelf().keep(*numbers(8 * BLOCK, variant))
        again = shelf(**options)
        self.read: list[str] = []

        def counted(folder: Path, stored: Stored, *more: Any) -> Any:
            self.read.append(stored.name)
            return load_block(folder, stored, *more)

        monkeypatch.setattr("lmx_daemon.engines.mlx.prefix.disk.load_block", counted)
        return Reuse(again.prefixes, again.disk), again

    def wait(self, shelf: Shelf) -> None:
        with shelf.disk._changed:
            assert shelf.disk._changed.wait_for(lambda: not shelf.disk._reads and not shelf.disk._busy, PATIENCE)

    def test_what_they_share_is_read_once(self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch) -> None:
        reuse, again = self.reuse(shelf, monkeypatch)
        beginning = numbers(6 * BLOCK)[0]
        arrivals = [reuse.arrive("", [*beginning, 7, n]) for n in range(9)]
        arrivals.append(reuse.arrive("", numbers(8 * BLOCK)[0]))
        started = [False] * len(arrivals)
        while not all(started):
            self.wait(again)
            started = [done or reuse.may_start(each, Rows()) for each, done in zip(arrivals, started, strict=True)]
        assert [reuse.start(each).cached for each in arrivals] == [6 * BLOCK] * 9 + [8 * BLOCK - 1]
        assert len(self.read) == len(set(self.read)) == 8

    def test_what_was_read_for_them_takes_no_more_than_the_memory_for_prefixes(
        self, shelf: Callable[..., Shelf], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe = PrefixCache(PLENTY)
        probe.keep("", *numbers(8 * BLOCK))
        reuse, again = self.reuse(shelf, monkeypatch, memory=probe.size * 5 // 2)
        arrivals = [reuse.arrive("", [*numbers(8 * BLOCK, variant)[0], 5]) for variant in range(3)]
        self.wait(again)
        reuse.settle()
        assert all(each.fetch is not None and not each.fetch.loaded for each in arrivals)
        assert 2 * probe.size <= reuse.size <= probe.size * 5 // 2
        for each in arrivals:  # the first has given way by then, and is read again
            while not reuse.may_start(each, Rows()):
                self.wait(again)
            assert reuse.start(each).cached == 8 * BLOCK


class Late(Fetch):
    """It is done as soon as somebody has seen that it is not."""

    seen = False

    @property  # type: ignore[override]
    def done(self) -> bool:
        seen, self.seen = self.seen, True
        return seen

    @done.setter
    def done(self, done: bool) -> None:
        pass


def test_what_comes_while_somebody_looks_is_not_lost(shelf: Callable[..., Shelf]) -> None:
    tokens, cache = numbers(4 * BLOCK)
    shelf().keep(tokens, cache)
    again = shelf()
    fetch = again.disk.fetch(again.prefixes, "", [*tokens, 1])
    assert fetch is not None and again.woken.wait(PATIENCE)
    again.disk._pending = [Late(fetch.namespace, fetch.data, fetch.wanted, fetch.loaded)]
    again.disk.take(again.prefixes)
    again.disk.take(again.prefixes)
    assert content(again, [*tokens, 1]) == tokens and not again.disk._pending
