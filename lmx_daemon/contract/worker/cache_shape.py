"""The size of the cache of one sequence, as a function of its length."""

from typing import Literal

from lmx_daemon.contract.frozen import Frozen

Basis = Literal["exact", "computed", "estimated", "measured"]
"""Origin of a figure: headers of the files, the config, a rule of thumb, or the running model."""
CACHE_BLOCK = 256
"""Number of tokens by which caches grow."""


class Growing(Frozen, frozen=True):
    """Layers whose cache grows with the sequence."""

    per_token: int
    """Bytes per token over these layers."""
    window: int | None = None
    """Number of most recent tokens that are kept; None is all."""


class CacheShape(Frozen, frozen=True):
    """Cache of one sequence of a model, in bytes."""

    fixed: int = 0
    """Size of recurrent states, which do not grow."""
    growing: tuple[Growing, ...] = ()
    basis: Basis = "estimated"

    def bytes(self, tokens: int) -> int:
        """Return the size for a sequence of `tokens`."""
        whole = -(-tokens // CACHE_BLOCK) * CACHE_BLOCK
        return self.fixed + sum(
            part.per_token * (whole if part.window is None else min(whole, part.window)) for part in self.growing
        )

    def tokens(self, room: int, most: int) -> int:
        """Return the longest sequence that fits into `room` bytes, at most `most`; 0 if one block does not fit."""
        low, high = 0, -(-most // CACHE_BLOCK)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes(middle * CACHE_BLOCK) <= room else (low, middle - 1)
        return min(low * CACHE_BLOCK, most)
