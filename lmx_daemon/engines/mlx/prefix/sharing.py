"""Reuse of prefixes by requests: from memory, from disk, or from a request that computes the same prefix right now.

It decides which request waits for which and where checkpoints are taken, and acts through the batch and the prefix
cache. Why a prompt missed the cache is the matter of miss_report.py. Engine thread only.
"""

import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.load.fingerprint import fingerprint
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.prefix.block_keys import encode
from lmx_daemon.engines.mlx.prefix.cache import PrefixCache, PrefixHit
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead
from lmx_daemon.engines.mlx.prefix.disk_tier import DiskTier
from lmx_daemon.engines.mlx.prefix.lookup import PrefixLookup, PrefixStart, SharedRow
from lmx_daemon.engines.mlx.prefix.miss_report import TAIL, WORTH, RecentPrompts, common_length, may_share

AHEAD_BYTES, AHEAD_PART = 512 * 1024 * 1024, 4
"""Bounds on reading ahead after a load: bytes, and the part (one in four) of the memory for prefixes."""
FAILED = "the prefix cache failed"
READS = 4
"""Limit on the disk reads that one request waits for."""
WAIT_SECONDS = 30.0
"""Limit on the time that a request waits for a prefix."""

Result = TypeVar("Result")


class RunningRows(Protocol):
    """The methods of the batch that are used here."""

    def checkpoint(self, row: Any, position: int) -> bool: ...

    def extract(self, row: Any) -> tuple[list[int], list[Any]] | None: ...


class PrefixSharing:
    """The prefixes that the requests of one worker share."""

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
        self._rows: dict[Hashable, SharedRow] = {}
        self._recent = RecentPrompts(decode, think)

    def look_up(self, namespace: str, tokens: list[int], opening: int = 0) -> PrefixLookup:
        """Return the lookup for a prompt, and begin to read from disk what memory lacks of it.

        Other requests may share the first `opening` tokens, which come before the conversation itself.
        """
        lookup = PrefixLookup(namespace, tokens, time.monotonic() + WAIT_SECONDS, opening)
        lookup.disk_read = self._or_clear(lambda: self._read(namespace, tokens), None)
        return lookup

    def is_reading(self, lookup: PrefixLookup | None) -> bool:
        """Return whether the request waits for the disk."""
        return lookup is not None and lookup.disk_read is not None and not (lookup.disk_read.done or self.disk_silent)

    @property
    def disk_silent(self) -> bool:
        """Return whether the disk tier does not answer, and is not used."""
        return self._disk is not None and self._disk.silent

    def may_start(self, lookup: PrefixLookup | None, rows: RunningRows) -> bool:
        """Return False while the request has to wait for the disk or for another row."""
        if lookup is None or time.monotonic() > lookup.until:
            return True
        if lookup.disk_read is not None:
            if self.is_reading(lookup):
                return False
            # The read may have been another request's, and blocks that were read early may have been evicted.
            lookup.reads += 1
            again = lookup.reads < READS
            lookup.disk_read = self._or_clear(lambda: self._read(lookup.namespace, lookup.tokens, again), None)
            if lookup.disk_read is not None:
                return False
        if lookup.source is not None:
            if not lookup.source.ended and lookup.source.held < lookup.position:
                return False
            lookup.source = None
        return not self._follow(lookup, rows)

    def start(self, lookup: PrefixLookup | None) -> PrefixStart:
        """Return the stored prefix for the request. Call once, when the request starts."""
        if lookup is None:
            return PrefixStart(None)
        hit = self.find(lookup.namespace, lookup.tokens)
        cached = hit.length if hit is not None else 0
        nearest, common = self._recent.nearest(lookup.namespace, lookup.array)
        first, miss = self._recent.explain(nearest, lookup.array, common, cached, trimmable=self._trimmable())
        checkpoints = () if self._trimmable() else checkpoints_for(len(lookup.tokens), cached, (common, lookup.opening))
        self._recent.add(lookup.namespace, lookup.array)
        return PrefixStart(hit, checkpoints, first, miss)

    def register(self, row: Hashable, lookup: PrefixLookup | None, found: PrefixStart) -> None:
        """Register a row that computes its prompt from now on."""
        if lookup is not None:
            self._rows[row] = SharedRow(row, lookup, found.cached, set(found.checkpoints))

    def advance(self, row: Hashable, held: int, cache: list[Any] | None) -> None:
        """Record that `row` holds `held` tokens of its prompt; `cache` is set at a checkpoint, and is stored."""
        shared = self._rows.get(row)
        if shared is not None:
            if cache is not None:
                self.store(shared.lookup.namespace, shared.lookup.tokens[:held], cache)
            shared.held = held

    def find(self, namespace: str, tokens: list[int]) -> PrefixHit | None:
        """Return the longest stored prefix of `tokens`."""
        return self._or_clear(lambda: self.prefixes.find(namespace, tokens), None)

    def store(self, namespace: str, tokens: list[int], cache: list[Any]) -> None:
        """Store a row's cache, which holds exactly `tokens`."""
        self._or_clear(lambda: self.prefixes.store(namespace, tokens, cache), None)

    def store_running(self, row: Hashable, lookup: PrefixLookup | None, rows: RunningRows) -> None:
        """Store the computed tokens of a row before it is removed, since the client may repeat the request.

        A cache that cannot be cut is stored, too: the same prompt continues exactly at its end.
        """
        if lookup is not None and (taken := rows.extract(row)) is not None:
            self.store(lookup.namespace, *taken)

    def prompt_done(self, row: Hashable) -> None:
        """Record that `row` has computed all of its prompt."""
        if (shared := self._rows.get(row)) is not None:
            shared.held = len(shared.lookup.tokens)

    def release(self, row: Hashable) -> None:
        """Forget a row that was removed. Requests stop waiting for it."""
        shared = self._rows.pop(row, None)
        if shared is not None:
            shared.ended = True
            self._recent.truncate(shared.lookup.array, shared.held)

    def distrust(self) -> None:
        """Drop all that is stored, after a failed step: it may be the cause."""
        for row in list(self._rows):
            self.release(row)
        self.prefixes.clear()
        if self._disk is not None:
            self._disk.distrust()

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.prefixes.size

    def resize(self, max_bytes: int) -> None:
        """Change the bound on bytes in memory."""
        self._or_clear(lambda: self.prefixes.resize(max_bytes), None)

    def publish(self) -> None:
        """Pass computed blocks to the disk tier and take what it has read. Call after each step.

        An error of blocks that were cut asynchronously is raised, and handled, here.
        """
        self._or_clear(self.prefixes.publish, None)
        self._or_clear(self._collect, None)

    def read_ahead(self) -> None:
        """Read the blocks that were used last back from disk while the worker is idle."""
        if self._disk is not None:
            self._disk.read_ahead(self.prefixes.root_key(""), min(AHEAD_BYTES, self.prefixes.max_bytes // AHEAD_PART))

    def close(self, seconds: float) -> None:
        """Write queued blocks to disk, within `seconds`."""
        self._or_clear(lambda: self.prefixes.publish(everything=True), None)
        if self._disk is not None:
            self._disk.close(seconds)

    def _read(self, namespace: str, tokens: list[int], more: bool = True) -> DiskRead | None:
        self._collect()
        return self._disk.fetch(self.prefixes, namespace, tokens) if self._disk is not None and more else None

    def _collect(self) -> None:
        if self._disk is not None:
            self._disk.collect(self.prefixes)

    def _or_clear(self, act: Callable[[], Result], otherwise: Result) -> Result:
        """Return the result of `act`; if it raises, clear the memory and return `otherwise`.

        Reuse only saves time, so that its failure must not fail a request.
        """
        try:
            return act()
        except Exception as error:  # cutting computes, and may lack the memory that clearing frees
            traceback.print_exc()
            self._warn(f"{FAILED}, and its blocks in memory are dropped: {error!r}")
            self.prefixes.clear()
            return otherwise

    def _trimmable(self) -> bool:
        return self.prefixes.layout is not None and self.prefixes.layout.trimmable

    def _follow(self, lookup: PrefixLookup, rows: RunningRows) -> bool:
        """Make the request wait for a running row with a longer common prefix. Return whether there is one."""
        if not self._rows:
            return False
        tokens = encode(lookup.tokens)
        own = self._or_clear(lambda: self.prefixes.match(lookup.namespace, tokens).length, 0)
        for common, shared in self._candidates(lookup, own):
            position = min(common, len(shared.lookup.tokens) - 1)
            if shared.held < position and rows.checkpoint(shared.row, position):
                shared.planned.add(position)
                lookup.source, lookup.position = shared, position
                return True
            if (planned := max((p for p in shared.planned if shared.held < p <= common), default=0)) - own >= WORTH:
                lookup.source, lookup.position = shared, planned
                return True
            if shared.held >= position and self._trimmable() and (taken := rows.extract(shared.row)) is not None:
                self.store(lookup.namespace, *taken)
                return False
        return False

    def _candidates(self, lookup: PrefixLookup, own: int) -> list[tuple[int, SharedRow]]:
        """Return running rows whose common prefix is worth waiting for, the longest first; `own` tokens are stored."""
        found: list[tuple[int, SharedRow]] = []
        for shared in self._rows.values():
            other = shared.lookup
            if other.namespace == lookup.namespace and may_share(other.array, lookup.array, own + WORTH):
                common = min(common_length(other.array, lookup.array), len(lookup.tokens) - 1)
                if common - own >= WORTH:
                    found.append((common, shared))
        return sorted(found, key=lambda pair: -pair[0])


def checkpoints_for(length: int, cached: int, shared: Sequence[int]) -> tuple[int, ...]:
    """Return the positions at which the states of a prompt are stored.

    One is before the tokens that open the answer, since the next turn has other tokens there. The others are the ends
    of prefixes that the prompt shares: after the system's text, and where the prompt differs from an earlier one, since
    a third prompt will likely differ there too.
    """
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
    """Return the prefix sharing of a loaded model called `name`, with a disk tier if the options ask for one."""
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
