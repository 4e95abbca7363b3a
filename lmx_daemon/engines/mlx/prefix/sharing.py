"""What a request can reuse: from memory, from disk, or from a request that computes the same beginning right now.

Decides who waits for whom and where checkpoints are taken; why a prompt that looks like an earlier one was not found is
recent.py's. It acts through the batch and the prefix cache. Engine thread only.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from lmx_daemon.contract.frames import TextOptions
from lmx_daemon.engines.mlx.load.fingerprint import fingerprint
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache, PrefixHit
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.disk_tier import DiskTier
from lmx_daemon.engines.mlx.prefix.keys import encode
from lmx_daemon.engines.mlx.prefix.miss_report import TAIL, WORTH, RecentPrompts, Tokens, common_length, may_share

AHEAD_BYTES, AHEAD_PART = 512 * 1024 * 1024, 4
"""Of what may be kept in memory, one part of so many is read ahead, and at most so much."""
FAILED = "the prefix cache failed"
READS = 4
"""So often a request waits for the disk."""
WAIT_SECONDS = 30.0
"""Nobody waits longer for somebody else's work."""

Result = TypeVar("Result")


class RunningRows(Protocol):
    """What is needed of the batch."""

    def checkpoint(self, row: int, position: int) -> bool: ...

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None: ...


@dataclass(frozen=True)
class PrefixStart:
    """What a request starts with."""

    hit: PrefixHit | None
    checkpoints: tuple[int, ...] = ()
    first_difference: int | None = None
    """Where the prompt leaves the earlier one that is most like it."""
    miss: str = ""
    """Why more was not reused, where more could be expected."""

    @property
    def cached(self) -> int:
        return self.hit.length if self.hit is not None else 0

    @property
    def cache(self) -> list[Any] | None:
        return self.hit.cache if self.hit is not None else None


@dataclass(eq=False)
class PrefixLookup:
    """A request that has not started."""

    namespace: str
    tokens: list[int]
    until: float
    opening: int = 0
    fetch: DiskRead | None = None
    reads: int = 0
    leader: "SharedRow | None" = None
    position: int = 0
    """It waits until the leader's cache of so many tokens is stored."""
    array: Tokens = field(init=False)

    def __post_init__(self) -> None:
        self.array = np.asarray(self.tokens, np.int32)


@dataclass(eq=False)
class SharedRow:
    """A running row, whose tokens others may wait for."""

    row: int
    arrival: PrefixLookup
    held: int
    planned: set[int]
    ended: bool = False


class PrefixSharing:
    def __init__(
        self,
        prefixes: PrefixCache | None = None,
        disk: DiskTier | None = None,
        decode: Callable[[list[int]], str] = lambda _: "",
        think: str | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.prefixes = prefixes or PrefixCache(0)
        self._disk = disk
        self._warn = warn
        self._leaders: dict[int, SharedRow] = {}
        self._recent = RecentPrompts(decode, think)

    def arrive(self, namespace: str, tokens: list[int], opening: int = 0) -> PrefixLookup:
        """A request has its tokens, of which others may share the `opening`. What the disk holds begins to be read."""
        arrival = PrefixLookup(namespace, tokens, time.monotonic() + WAIT_SECONDS, opening)
        arrival.fetch = self._forgiving(lambda: self._fetch(namespace, tokens), None)
        return arrival

    def reads_for(self, arrival: PrefixLookup | None) -> bool:
        """Whether the disk's answer is what it waits for."""
        return arrival is not None and arrival.fetch is not None and not arrival.fetch.done

    def may_start(self, arrival: PrefixLookup | None, rows: RunningRows) -> bool:
        """False while what it waits for is under way."""
        if arrival is None or time.monotonic() > arrival.until:
            return True
        if arrival.fetch is not None:
            if not arrival.fetch.done:
                return False
            arrival.reads += 1  # it may have been another's, and what was read early may have given way
            again = arrival.reads < READS
            arrival.fetch = self._forgiving(lambda: self._fetch(arrival.namespace, arrival.tokens, again), None)
            if arrival.fetch is not None:
                return False
        if arrival.leader is not None:
            if not arrival.leader.ended and arrival.leader.held < arrival.position:
                return False
            arrival.leader = None
        return not self._follow(arrival, rows)

    def start(self, arrival: PrefixLookup | None) -> PrefixStart:
        """What the request starts with, now that it does."""
        if arrival is None:
            return PrefixStart(None)
        hit = self.find(arrival.namespace, arrival.tokens)
        cached = hit.length if hit is not None else 0
        nearest, common = self._recent.nearest(arrival.namespace, arrival.array)
        first, miss = self._recent.explain(nearest, arrival.array, common, cached, trimmable=self._trimmable())
        checkpoints = (
            () if self._trimmable() else checkpoints_for(len(arrival.tokens), cached, (common, arrival.opening))
        )
        self._recent.add(arrival.namespace, arrival.array)
        return PrefixStart(hit, checkpoints, first, miss)

    def lead(self, row: int, arrival: PrefixLookup | None, found: PrefixStart) -> None:
        """`row` computes its prompt from now on."""
        if arrival is not None:
            self._leaders[row] = SharedRow(row, arrival, found.cached, set(found.checkpoints))

    def advance(self, row: int, held: int, cache: list[Any] | None) -> None:
        """`row` holds so many tokens of its prompt; at a checkpoint with its cache."""
        leader = self._leaders.get(row)
        if leader is not None:
            if cache is not None:
                self.keep(leader.arrival.namespace, leader.arrival.tokens[:held], cache)
            leader.held = held

    def find(self, namespace: str, tokens: list[int]) -> PrefixHit | None:
        return self._forgiving(lambda: self.prefixes.find(namespace, tokens), None)

    def keep(self, namespace: str, tokens: list[int], cache: list[Any]) -> None:
        """A row's cache, which holds exactly `tokens`."""
        self._forgiving(lambda: self.prefixes.keep(namespace, tokens, cache), None)

    def save(self, row: int, arrival: PrefixLookup | None, rows: RunningRows) -> None:
        """A row is about to be removed: what it has computed would be wanted if the request were made again."""
        if arrival is not None and self._trimmable() and (taken := rows.extract(row)) is not None:
            self.keep(arrival.namespace, *taken)

    def past(self, row: int) -> None:
        """`row` has all of its prompt, and is generating."""
        if (leader := self._leaders.get(row)) is not None:
            leader.held = len(leader.arrival.tokens)

    def end(self, row: int) -> None:
        """`row` is gone; what it computed is stored by now, or lost."""
        leader = self._leaders.pop(row, None)
        if leader is not None:
            leader.ended = True
            self._recent.cut(leader.arrival.array, leader.held)

    def fail(self) -> None:
        """A step failed: nothing that was kept is trusted any more."""
        for row in list(self._leaders):
            self.end(row)
        self.prefixes.clear()
        if self._disk is not None:
            self._disk.distrust()

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.prefixes.size

    def resize(self, max_bytes: int) -> None:
        self._forgiving(lambda: self.prefixes.resize(max_bytes), None)

    def settle(self) -> None:
        """After each step: what was kept goes on to the disk once it is computed. A cut that failed shows here."""
        self._forgiving(self.prefixes.settle, None)
        self._forgiving(self._take, None)

    def read_ahead(self) -> None:
        """Brings back from the disk what was used last, while nobody asks for anything."""
        if self._disk is not None:
            self._disk.read_ahead(self.prefixes.root_key(""), min(AHEAD_BYTES, self.prefixes.max_bytes // AHEAD_PART))

    def close(self, seconds: float) -> None:
        self._forgiving(lambda: self.prefixes.settle(everything=True), None)
        if self._disk is not None:
            self._disk.close(seconds)

    def _fetch(self, namespace: str, tokens: list[int], more: bool = True) -> DiskRead | None:
        self._take()
        return self._disk.fetch(self.prefixes, namespace, tokens) if self._disk is not None and more else None

    def _take(self) -> None:
        if self._disk is not None:
            self._disk.take(self.prefixes)

    def _forgiving(self, act: Callable[[], Result], otherwise: Result) -> Result:
        """What is reused saves time and nothing else: where it fails, answers go on without."""
        try:
            return act()
        except Exception as error:  # cutting is arithmetic too, and may find too little memory; this makes room then
            traceback.print_exc()
            self._warn(f"{FAILED}, and what it held in memory is dropped: {error!r}")
            self.prefixes.clear()
            return otherwise

    def _trimmable(self) -> bool:
        return self.prefixes.layout is not None and self.prefixes.layout.trimmable

    def _follow(self, arrival: PrefixLookup, rows: RunningRows) -> bool:
        """Whether it waits for a row that computes its beginning; asks that row for a checkpoint."""
        if not self._leaders:
            return False
        tokens = encode(arrival.tokens)
        own = self._forgiving(lambda: self.prefixes.place(arrival.namespace, tokens).length, 0)
        candidates = [
            (shared, leader)
            for leader in self._leaders.values()
            if leader.arrival.namespace == arrival.namespace
            and may_share(leader.arrival.array, arrival.array, own + WORTH)
            and (shared := min(common_length(leader.arrival.array, arrival.array), len(arrival.tokens) - 1)) - own
            >= WORTH
        ]
        for shared, leader in sorted(candidates, key=lambda pair: -pair[0]):
            position = min(shared, len(leader.arrival.tokens) - 1)
            if leader.held < position and rows.checkpoint(leader.row, position):
                leader.planned.add(position)
                arrival.leader, arrival.position = leader, position
                return True
            if (planned := max((p for p in leader.planned if leader.held < p <= shared), default=0)) - own >= WORTH:
                arrival.leader, arrival.position = leader, planned
                return True
            if leader.held >= position and self._trimmable() and (taken := rows.extract(leader.row)) is not None:
                self.keep(arrival.namespace, *taken)
                return False
        return False


def checkpoints_for(length: int, cached: int, shared: Sequence[int]) -> tuple[int, ...]:
    """Where a prompt's states are kept: before the tokens that open the answer, since the next turn has others there,
    and at the ends of what it shares with other prompts: after the system's words, and where it leaves an earlier one,
    since a third one will likely do the same."""
    wanted = {length - TAIL} if length - TAIL - cached >= TAIL else set()
    wanted |= {position for position in shared if position - cached >= WORTH and position < length - TAIL}
    return tuple(sorted(wanted))


def open_sharing(
    loaded: LoadedModel,
    path: Path,
    name: str,
    options: TextOptions,
    warn: Callable[[str], None],
    wake: Callable[[], None],
) -> PrefixSharing:
    """Return what one worker needs: the memory it may use, and the disk below it if that is on. `name`: the model."""
    mark, disk = "", None
    if options.prefix_disk_bytes and options.prefix_disk_path and options.prefix_cache_bytes != 0:
        mark = fingerprint(path, loaded.dtype, loaded.tokenizer.chat_template)
        disk = DiskTier(Path(options.prefix_disk_path), mark, options.prefix_disk_bytes, warn, wake, model=name)
    return PrefixSharing(
        PrefixCache(options.prefix_cache_bytes or 0, mark, disk),
        disk,
        loaded.tokenizer.decode,
        loaded.tokenizer.think_start if loaded.tokenizer.has_thinking else None,
        warn,
    )
