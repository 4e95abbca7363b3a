"""Records of prefix sharing: the lookup of a request, what the request starts with, and rows that others wait for."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmx_daemon.engines.mlx.arrays import TokenArray
from lmx_daemon.engines.mlx.prefix.cache import PrefixHit
from lmx_daemon.engines.mlx.prefix.disk_read import DiskRead


@dataclass(frozen=True)
class PrefixStart:
    """Stored prefix with which a request starts."""

    hit: PrefixHit | None
    checkpoints: tuple[int, ...] = ()
    first_difference: int | None = None
    """Position at which the prompt differs from the most similar earlier one."""
    miss: str = ""
    """Reason why less was reused than could be expected; "" if that is not so."""

    @property
    def cached(self) -> int:
        return self.hit.length if self.hit is not None else 0

    @property
    def cache(self) -> list[Any] | None:
        return self.hit.cache if self.hit is not None else None


@dataclass(eq=False)
class PrefixLookup:
    """The search for the prefix of a request that has not started."""

    namespace: str
    tokens: list[int]
    until: float
    """Monotonic time at which the request stops waiting."""
    opening: int = 0
    """Number of tokens before the conversation itself."""
    disk_read: DiskRead | None = None
    reads: int = 0
    """Number of disk reads that were waited for."""
    source: "SharedRow | None" = None
    """Running row whose prefix is waited for."""
    position: int = 0
    """Length of the prefix that `source` is to store."""
    array: TokenArray = field(init=False)

    def __post_init__(self) -> None:
        self.array = np.asarray(self.tokens, np.int32)


@dataclass(eq=False)
class SharedRow:
    """A running row whose prefix other requests may wait for."""

    row: Hashable
    lookup: PrefixLookup
    held: int
    """Number of prompt tokens that the row has computed or reused."""
    planned: set[int]
    """Positions at which the row will store a checkpoint."""
    ended: bool = False
