"""The prefix cache and its disk, whatever comes after whatever: kept, found, read, evicted, damaged, restarted."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache

from lmx_daemon.engine import files
from lmx_daemon.engine.cache import MIN_TOKENS, Node, PrefixCache, at_end
from lmx_daemon.engine.disk import LEAST_TAIL, Disk, Fetch
from lmx_daemon.engine.keys import BLOCK, encode

PLENTY = 1 << 30
PATIENCE = 20.0
MARK = "model"
VALUES = 1021
"""So many different contents of a token; half precision holds twice as many exactly."""


def contents(namespace: str, tokens: list[int]) -> list[int]:
    """One number for each token, which depends on all before it."""
    found, last = [], len(namespace)
    for token in tokens:
        last = (last * 31 + token + 7) % VALUES
        found.append(last)
    return found


def cache_of(namespace: str, tokens: list[int], *, states: bool) -> list[Any]:
    """What a model would hold after `tokens`."""
    numbers = np.array(contents(namespace, tokens))

    def grown(heads: int, width: int, dtype: mx.Dtype) -> KVCache:
        scale = np.arange(heads * width).reshape(1, heads, 1, width) + numbers.reshape(1, 1, -1, 1)
        keys = mx.array(scale % 251 if dtype == mx.bfloat16 else scale).astype(dtype)
        return KVCache.from_state((keys, keys + 1, len(tokens)))

    if not states:
        return [grown(1, 2, mx.float32), CacheList(grown(2, 1, mx.float16), KVCache()), grown(1, 1, mx.bfloat16)]
    state = ArraysCache(2)
    state[0] = mx.array(numbers[-1:], mx.float32)
    return [grown(1, 2, mx.float32), state, grown(1, 1, mx.bfloat16)]


def told(cache: list[Any], length: int) -> list[Any]:
    """All numbers in a cache of `length` tokens."""
    found: list[Any] = []
    for part in cache:
        if isinstance(part, CacheList):
            found += told(part.caches, length)
        elif isinstance(part, ArraysCache):
            found += [array.tolist() if array is not None else None for array in part.cache]
        elif part.keys is not None:
            assert part.offset == length
            found += [str(part.keys.dtype), *(each.astype(mx.float32).tolist() for each in part.keys_and_values())]
    return found


class Held(Disk):
    """One whose thread may be held up before each thing it does."""

    def __init__(self, root: Path, max_bytes: int, say: Any) -> None:
        self.may: float = math.inf
        self.held = False
        super().__init__(root, MARK, max_bytes, say, lambda: None, reserve=0)

    def let(self, count: float) -> None:
        with self._changed:
            self.may = count
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        return not (self._busy or self._reads or self._touches or self._writes or self._plan or self._ahead)

    def settle(self) -> None:
        """Until the thread is held up, or has nothing to do."""
        with self._changed:
            quiet = self._changed.wait_for(lambda: self.idle or (self.held and self.may <= 0), PATIENCE)
        assert quiet, "the disk's thread is gone"

    def kill(self) -> None:
        """What is queued is lost."""
        with self._changed:
            self._writes.clear()
            self._touches.clear()
        self.let(math.inf)
        self.close(PATIENCE)

    def _before(self) -> None:
        with self._changed:
            self.held = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.may > 0)
            self.may -= 1
            self.held = False

    def _read(self, fetch: Fetch) -> None:
        self._before()
        super()._read(fetch)

    def _touch(self, blocks: Any) -> None:
        self._before()
        super()._touch(blocks)

    def _write(self, write: Any) -> None:
        self._before()
        super()._write(write)

    def _read_one_ahead(self) -> None:
        self._before()
        super()._read_one_ahead()


namespaces = st.sampled_from(["", "", "other"])
pieces = st.tuples(st.integers(0, 1), st.sampled_from([1, 7, 8, 20, 44, 63, 64, 65, 128]))
prompts = st.lists(pieces, min_size=1, max_size=4).map(lambda found: [token for token, n in found for _ in range(n)])
memories = st.sampled_from([0, 3000, 7000, 15_000, 40_000, PLENTY, PLENTY])
disks = st.sampled_from([5000, 15_000, 40_000, PLENTY, PLENTY])
some = st.integers(0, 99)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp()) / "prefix"
        self.folder = self.root / MARK
        self.said: list[str] = []
        self.spoiled = False
        """Files were damaged or deleted by others."""
        self.fetches: list[Fetch] = []
        self.kept: list[tuple[str, list[int]]] = []
        """What nothing can have taken away."""

    @initialize(states=st.booleans(), memory=memories, disk=disks)
    def begin(self, states: bool, memory: int, disk: int) -> None:
        self.states = states
        self.start(memory, disk)

    def start(self, memory: int, disk: int) -> None:
        self.disk = Held(self.root, disk, self.said.append)
        self.prefixes = PrefixCache(memory, MARK, self.disk)
        self.max_bytes = disk
        self.fetches.clear()
        if min(memory, disk) < PLENTY:
            self.kept.clear()

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.kill()
        shutil.rmtree(self.root.parent, ignore_errors=True)

    # ---- the engine thread ----

    @rule(namespace=namespaces, tokens=prompts)
    def keep(self, namespace: str, tokens: list[int]) -> None:
        self.prefixes.keep(namespace, tokens, cache_of(namespace, tokens, states=self.states))
        if self.prefixes.max_bytes == PLENTY:
            self.found(namespace, [*tokens, 9], len(tokens) if len(tokens) >= MIN_TOKENS else 0)
            if self.max_bytes == PLENTY and len(tokens) >= MIN_TOKENS:
                self.kept.append((namespace, tokens))

    @rule(everything=st.booleans())
    def settle(self, everything: bool) -> None:
        self.prefixes.settle(everything=everything)

    @rule(namespace=namespaces, tokens=prompts)
    def find(self, namespace: str, tokens: list[int]) -> None:
        self.found(namespace, tokens, 0)

    def found(self, namespace: str, tokens: list[int], least: int) -> None:
        place = self.prefixes.place(namespace, encode(tokens)).length
        hit = self.prefixes.find(namespace, tokens)
        length = hit.length if hit is not None else 0
        assert length == (place if place >= MIN_TOKENS else 0)
        assert least <= length <= len(tokens) - 1 or length == 0 == least
        if hit is not None:
            expected = cache_of(namespace, tokens[:length], states=self.states)
            assert told(hit.cache, length) == told(expected, length)

    @rule(namespace=namespaces, tokens=prompts)
    def fetch(self, namespace: str, tokens: list[int]) -> None:
        if (fetch := self.disk.fetch(self.prefixes, namespace, tokens)) is not None:
            self.fetches.append(fetch)

    @precondition(lambda self: any(fetch.done for fetch in self.fetches))
    @rule(which=some)
    def restore(self, which: int) -> None:
        done = [fetch for fetch in self.fetches if fetch.done]
        fetch = done[which % len(done)]
        self.fetches.remove(fetch)
        self.disk.restore(self.prefixes, fetch)
        self.found(fetch.namespace, list(np.frombuffer(fetch.data, np.int32)), 0)

    @rule(max_bytes=memories)
    def read_ahead(self, max_bytes: int) -> None:
        self.disk.read_ahead(self.prefixes.root_key(""), max_bytes)

    @precondition(lambda self: self.disk._come)
    @rule(first=st.integers(1, 4))
    def take(self, first: int) -> None:
        """What has come, or the first few of it: the engine may look at any time."""
        with self.disk._changed:
            later, self.disk._come = self.disk._come[first:], self.disk._come[:first]
        self.disk.take(self.prefixes)
        with self.disk._changed:
            self.disk._come = later + self.disk._come

    @rule(max_bytes=memories)
    def resize(self, max_bytes: int) -> None:
        self.prefixes.resize(max_bytes)
        if max_bytes < PLENTY:
            self.kept.clear()

    @rule(distrust=st.booleans())
    def fail(self, distrust: bool) -> None:
        self.prefixes.clear()
        self.kept.clear()
        if distrust:
            self.disk.distrust()

    # ---- the disk's thread ----

    @rule(count=st.sampled_from([0, 1, 2, 3, math.inf, math.inf]))
    def let(self, count: float) -> None:
        self.disk.let(count)

    @rule(memory=memories, disk=disks)
    def restart(self, memory: int, disk: int) -> None:
        self.disk.let(math.inf)
        self.prefixes.settle(everything=True)
        self.disk.close(PATIENCE)
        self.start(memory, disk)
        self.disk.settle()
        for namespace, tokens in self.kept[-3:]:
            fetch = self.disk.fetch(self.prefixes, namespace, [*tokens, 9])
            if fetch is not None:
                self.disk.settle()
                self.disk.restore(self.prefixes, fetch)
            tail = len(tokens) % BLOCK
            lost = tail if tail < LEAST_TAIL and not self.states else 0
            self.found(namespace, [*tokens, 9], len(tokens) - lost)

    @rule(memory=memories, disk=disks)
    def crash(self, memory: int, disk: int) -> None:
        self.kept.clear()
        self.disk.kill()
        self.start(memory, disk)

    # ---- others ----

    def spoil(self, which: int) -> Path | None:
        """One of the files, about to be changed by somebody else."""
        found = sorted(self.folder.glob("*.kv"))
        self.spoiled = self.spoiled or bool(found)
        self.kept.clear()
        return found[which % len(found)] if found else None

    @rule(which=some)
    def delete(self, which: int) -> None:
        if (path := self.spoil(which)) is not None:
            path.unlink()

    @rule(which=some, length=st.sampled_from([0, 10, 100, -1]))
    def tear(self, which: int, length: int) -> None:
        if (path := self.spoil(which)) is not None:
            path.write_bytes(path.read_bytes()[:length])

    @rule(which=some, place=some)
    def damage(self, which: int, place: int) -> None:
        if (path := self.spoil(which)) is not None:
            data = bytearray(path.read_bytes())
            data[place * 37 % max(len(data), 1) : place * 37 % max(len(data), 1) + 1] = b"?"
            path.write_bytes(data)

    @rule(which=some, age=st.sampled_from([0, 600, 1200]))
    def use_another_time(self, which: int, age: int) -> None:
        found = sorted(self.folder.glob("*.kv"))
        if found:
            os.utime(found[which % len(found)], (10**9 - age, 10**9 - age))

    @rule(max_bytes=disks)
    def tidied_by_another_worker(self, max_bytes: int) -> None:
        self.spoil(0)
        files.bound(self.root, max_bytes)

    @rule(all_models=st.booleans())
    def emptied_by_hand(self, all_models: bool) -> None:
        self.spoil(0)
        self.spoiled = True
        shutil.rmtree(self.root if all_models else self.folder, ignore_errors=True)

    # ---- what always holds ----

    @invariant()
    def the_disk_is_what_its_index_says(self) -> None:
        if not hasattr(self, "disk"):
            return
        disk, index = self.disk, self.disk._index
        disk.settle()
        beside = [stored for by in (index._ends, index._tails) for found in by.values() for stored in found.values()]
        assert {stored.key for stored in beside} == {key for key, each in index.blocks.items() if each.kind != "block"}
        assert all((index._ends if each.kind == "end" else index._tails)[each.parent] for each in beside)
        if not disk.idle:
            return
        assert disk._queued == 0
        there = {path.name for path in self.folder.glob("*")}
        known = {stored.name for stored in index.blocks.values()}
        assert there <= known
        assert sum(path.stat().st_size for path in self.folder.glob("*")) <= self.max_bytes
        if not self.spoiled:
            assert there == known and not self.said

    @invariant()
    def the_tree_is_whole(self) -> None:
        if not hasattr(self, "disk"):
            return
        prefixes = self.prefixes
        place = {node: index for index, node in enumerate(prefixes._order.values())}
        assert all(root.children or root.ends for name, root in prefixes._roots.items() if name)
        reached = [node for root in prefixes._roots.values() for node in below(root)]
        assert set(reached) == set(place) and len(reached) == len(place)
        assert prefixes.size == sum(node.size for node in reached) <= prefixes.max_bytes
        for node in reached:
            assert node.parent is not None and prefixes._order[node.key] is node
            assert node.start == at_end(node.parent)
            assert place.get(node.parent, math.inf) > place[node], "a block would go before one that follows it"


def below(node: Node) -> Iterator[Node]:
    for beside, ends in ((node.children, False), (node.ends, True)):
        for tokens, child in beside.items():
            assert child.tokens == tokens and child.parent is node and (child.length < BLOCK) == ends
            yield child
            yield from below(child)


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_comes_after_whatever() -> None:
    run(50, 30)


@pytest.mark.slow
def test_whatever_comes_after_whatever_for_long() -> None:
    run(1500, 60)
