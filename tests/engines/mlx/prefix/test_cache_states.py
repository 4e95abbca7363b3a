"""The prefix cache and its disk tier under random orders of operations, faults and restarts."""

import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lmx_daemon.engines.mlx.prefix import block_files
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK, encode
from lmx_daemon.engines.mlx.prefix.cache import MIN_TOKENS, PrefixCache, PrefixHit
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.disk_thread import LEFT_ALONE
from lmx_daemon.engines.mlx.prefix.disk_tier import LEAST_TAIL
from lmx_daemon.engines.mlx.prefix.lookup import PrefixLookup
from lmx_daemon.engines.mlx.prefix.nodes import at_end
from lmx_daemon.engines.mlx.prefix.sharing import READS, PrefixSharing
from tests.engines.mlx.prefix.paused_disk import MARK, PATIENCE, PausedDisk, below, cache_of, numbers_of, spoil
from tests.engines.mlx.prefix.test_sharing import Rows

PLENTY = 1 << 30
pieces = st.tuples(st.integers(0, 1), st.sampled_from([1, 8, 20, 20, 44, 63, 64, 64, 65, 128]))
memories = st.sampled_from([1000, 4000, 7000, 15_000, 40_000, PLENTY, PLENTY, PLENTY])
disks = st.sampled_from([7000, 15_000, 40_000, PLENTY, PLENTY])
some = st.integers(0, 99)


@dataclass(frozen=True)
class Prompt:
    """Return an earlier prompt without its last tokens, continued by others."""

    which: int
    less: int
    more: list[tuple[int, int]]


which, less = st.sampled_from([0, 0, 0, 1, 2, 3, 7]), st.sampled_from([0, 0, 0, 1, 9, 64])
prompts = st.builds(Prompt, which, less, st.lists(pieces, max_size=2))
grown = st.builds(Prompt, which, less, st.lists(pieces, min_size=1, max_size=3))


def act(name: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(more))


OTHERS = ["delete", "tear", "damage", "damage", "age", "tidy", "empty"]
keep = act("keep", prompts=st.lists(grown, min_size=1, max_size=3), settle=st.sampled_from([0, 1, 2, 2]))
fetch, restore = act("fetch", prompt=prompts), act("restore", which=some, find=st.booleans())
arrive = act("arrive", prompt=prompts)
take = act("take", first=st.sampled_from([1, 1, 2, 3, 9]))
restart = act(
    "restart", memory=memories, disk=disks, crash=st.sampled_from([False, False, False, True]), ahead=st.booleans()
)
acts = st.one_of(
    *(keep, keep, keep, act("find", prompt=prompts), fetch, fetch, restore, restore, restart, restart, take, take),
    *(arrive, arrive, act("begin_one", which=some)),
    act("read_ahead", max_bytes=memories),
    act("give_up", what=st.sampled_from(["resize", "resize", "clear", "fail"]), max_bytes=memories),
    act("let", count=st.sampled_from([0, 1, 2, math.inf, math.inf, math.inf])),
    act("others", what=st.sampled_from(OTHERS), which=some, how=some),
)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp()) / "prefix"
        self.folder = self.root / MARK
        self.warnings: list[str] = []
        self.spoiled = False
        """Whether other processes have damaged or deleted files; the tier rewrites them only after it has read them."""
        self.asked: list[tuple[str, list[int]]] = [("", [0] * 200), ("other", []), ("", [])]
        self.failed: list[str] = []
        self.arrivals: list[PrefixLookup] = []
        self.fetches: list[DiskRead] = []
        self.kept: list[tuple[str, list[int]]] = []
        """Return the tokens that must still be found."""

    @initialize(states=st.booleans(), memory=memories, disk=disks)
    def begin(self, states: bool, memory: int, disk: int) -> None:
        self.states = states
        self.start(memory, disk)

    def start(self, memory: int, disk: int) -> None:
        self.disk = PausedDisk(self.root, disk, self.warnings.append)
        self.prefixes = PrefixCache(memory, MARK, self.disk)
        self.sharing = PrefixSharing(self.prefixes, self.disk, warn=self.failed.append)
        self.max_bytes = disk
        self.arrivals.clear()
        self.fetches.clear()
        if min(memory, disk) < PLENTY:
            self.kept.clear()

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.kill()
        shutil.rmtree(self.root.parent, ignore_errors=True)

    def tokens_of(self, prompt: Prompt) -> tuple[str, list[int]]:
        namespace, tokens = self.asked[-1 - prompt.which % len(self.asked)]
        more = [token for token, count in prompt.more for _ in range(count)]
        return namespace, [*tokens[: len(tokens) - prompt.less], *more][:400] or [1]

    @rule(act=acts)
    def act(self, act: tuple[str, dict[str, Any]]) -> None:
        """Run one operation. There is one rule, since hypothesis would leave out half of several in each example."""
        name, more = act
        getattr(self, name)(**more)

    # ---- engine thread ----

    def keep(self, prompts: list[Prompt], settle: int) -> None:
        for namespace, tokens in map(self.tokens_of, prompts):
            self.asked.append((namespace, tokens))
            self.prefixes.store(namespace, tokens, cache_of(namespace, tokens, states=self.states))
            self.the_tree_is_whole()
            least = len(tokens) if len(tokens) >= MIN_TOKENS else 0
            if self.prefixes.max_bytes == PLENTY:
                self.found(namespace, [*tokens, 9], least)
                self.found(namespace, tokens, 0)
                if self.max_bytes == PLENTY and least and not self.spoiled:
                    self.kept.append((namespace, tokens))
        if settle:
            self.prefixes.publish(everything=settle > 1)

    def find(self, prompt: Prompt) -> None:
        self.found(*self.tokens_of(prompt), 0)

    def found(self, namespace: str, tokens: list[int], least: int) -> None:
        place = self.prefixes.match(namespace, encode(tokens)).length
        hit = self.prefixes.find(namespace, tokens)
        length = hit.length if hit is not None else 0
        assert length == (place if place >= MIN_TOKENS else 0)
        assert least <= length <= len(tokens) - 1 or length == 0 == least
        self.is_right(namespace, tokens, hit)

    def is_right(self, namespace: str, tokens: list[int], hit: PrefixHit | None) -> None:
        if hit is not None:
            assert MIN_TOKENS <= hit.length < len(tokens)
            expected = cache_of(namespace, tokens[: hit.length], states=self.states)
            assert numbers_of(hit.cache, hit.length) == numbers_of(expected, hit.length)

    def arrive(self, prompt: Prompt) -> None:
        self.arrivals.append(self.sharing.look_up(*self.tokens_of(prompt)))

    def begin_one(self, which: int) -> None:
        """Start waiting requests; finally none waits for the disk."""
        if self.arrivals:
            arrival = self.arrivals.pop(which % len(self.arrivals))
            self.disk.let(math.inf)
            self.disk.settle()
            rounds = 0
            while not self.sharing.may_start(arrival, Rows()):
                self.disk.settle()
                rounds += 1
                assert rounds < READS
            self.is_right(arrival.namespace, arrival.tokens, self.sharing.start(arrival).hit)

    def fetch(self, prompt: Prompt) -> None:
        if (fetch := self.disk.fetch(self.prefixes, *self.tokens_of(prompt))) is not None:
            self.fetches.append(fetch)

    def restore(self, which: int, find: bool) -> None:
        done = [fetch for fetch in self.fetches if fetch.done]
        self.fetches = [fetch for fetch in self.fetches if fetch not in done]
        self.disk.collect(self.prefixes)
        if done and find:
            fetch = done[which % len(done)]
            self.found(fetch.namespace, np.frombuffer(fetch.data, np.int32).tolist(), 0)

    def read_ahead(self, max_bytes: int) -> None:
        self.disk.read_ahead(self.prefixes.root_key(""), max_bytes)

    def take(self, first: int) -> None:
        """Insert the first few blocks that were read: the engine may collect at any time."""
        with self.disk._changed:
            later, self.disk._read_ahead = self.disk._read_ahead[first:], self.disk._read_ahead[:first]
        self.disk.collect(self.prefixes)
        with self.disk._changed:
            self.disk._read_ahead = later + self.disk._read_ahead

    def give_up(self, what: str, max_bytes: int) -> None:
        if what == "resize":
            self.prefixes.resize(max_bytes)
        else:
            self.prefixes.clear()
        if what == "fail":
            self.disk.distrust()
        if what != "resize" or max_bytes < PLENTY:
            self.kept.clear()

    # ---- disk thread ----

    def let(self, count: float) -> None:
        self.disk.let(count)

    def restart(self, memory: int, disk: int, crash: bool, ahead: bool) -> None:
        self.disk.let(math.inf)
        if crash:
            self.kept.clear()
            self.disk.kill()
        else:
            self.prefixes.publish(everything=True)
            self.disk.close(PATIENCE)
        self.start(memory, disk)
        self.disk.settle()
        if ahead:
            self.read_ahead(PLENTY)
            self.disk.settle()
        else:
            self.all_is_there()

    def all_is_there(self) -> None:
        for namespace, tokens in self.asked[-3:]:
            fetch = self.disk.fetch(self.prefixes, namespace, [*tokens, 9])
            self.disk.settle()
            if fetch is not None:
                self.disk.collect(self.prefixes)
            tail = len(tokens) % BLOCK
            lost = tail if tail < LEAST_TAIL and not self.states else 0
            self.found(namespace, [*tokens, 9], len(tokens) - lost if (namespace, tokens) in self.kept else 0)

    # ---- other processes ----

    def others(self, what: str, which: int, how: int) -> None:
        """Change files as another process would."""
        paths = sorted(self.folder.glob("*.kv"))
        if not paths:
            return
        path = paths[which % len(paths)]
        if what == "age":
            for each in paths if how % 2 else [path]:
                os.utime(each, (10**9 - 60 * which, 10**9 - 60 * which))
            return
        self.spoiled = True
        self.kept.clear()
        if what == "empty":
            shutil.rmtree(self.root if how % 2 else self.folder)
        elif what == "tidy":
            block_files.bound(self.root, sum(path.stat().st_size for path in paths) * how // 100)
        else:
            spoil(paths if what == "damage" else [path], what, how)

    # ---- invariants ----

    @invariant()
    def the_disk_is_what_its_index_says(self) -> None:
        if not hasattr(self, "disk"):
            return
        disk, index = self.disk, self.disk._index
        disk.settle()
        assert not [warning for warning in self.warnings if LEFT_ALONE in warning]
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
            assert there == known and not self.warnings

    @invariant()
    def the_tree_is_whole(self) -> None:
        if not hasattr(self, "disk"):
            return
        assert not self.failed
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


def run(examples: int, steps: int) -> None:
    wanted = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    run_state_machine_as_test(Machine, settings=settings(wanted, suppress_health_check=list(HealthCheck)))


def test_random_orders_of_operations() -> None:
    run(40, 30)


@pytest.mark.slow
def test_long_random_orders_of_operations() -> None:
    run(2000, 50)
