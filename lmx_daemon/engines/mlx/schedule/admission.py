"""Admission: no prompt starts whose KV cache would not fit. Arithmetic only; it imports no MLX.

A request reserves memory for its prompt and for a good part of its answer. A longer answer is counted as it grows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lmx_daemon.contract.errors import prompt_too_long
from lmx_daemon.contract.units import size
from lmx_daemon.contract.worker.cache_shape import CACHE_BLOCK, CacheShape

RESERVED_TOKENS = 1024
"""Tokens of an answer that are reserved from the start. Most answers are shorter; reserving the whole maximum would let
too few requests run."""
DEFAULT_PREFIX_BYTES = 512 * 1024 * 1024
"""Bytes for stored prefixes if no limit is known."""
MAX_PREFIX_BYTES = 8 * 1024**3
"""Upper bound of the default for stored prefixes on machines with much memory."""


@dataclass(frozen=True)
class Reservation:
    """The memory that one request reserves, in tokens."""

    prompt: int
    max_generated: int
    """Tokens that each choice may generate."""
    choices: int = 1
    generated: int = 0
    """Tokens that its longest choice has generated so far."""
    scratch: int = 0
    """Bytes that it needs beside its KV caches."""

    @property
    def tokens(self) -> int:
        """The tokens to reserve for one choice."""
        return self.prompt + min(self.max_generated, max(RESERVED_TOKENS, self.generated + CACHE_BLOCK))


class Admission:
    """The memory for KV caches. The reservations of running requests are arguments, in order of their start."""

    def __init__(self, shape: CacheShape, cache_bytes: int = 0) -> None:
        self._shape = shape
        self._limit = cache_bytes

    def grant(self, cache_bytes: int) -> None:
        """Set the limit in bytes; 0 removes it."""
        self._limit = cache_bytes

    def longest(self, choices: int, context: int, scratch: int = 0) -> int:
        """Return the longest sequence, in tokens, that fits if its request runs alone; at most `context`.

        The request needs `scratch` bytes beside its KV caches.
        """
        return context if not self._limit else self._shape.tokens((self._limit - scratch) // choices, context)

    def check(self, prompt: int, choices: int, context: int, scratch: int = 0) -> None:
        """Raise ContextLengthError for a prompt that does not fit even if it runs alone."""
        longest = self.longest(choices, context, scratch)
        if prompt >= longest:
            needed = choices * self._shape.bytes(prompt + 1) + scratch
            raise prompt_too_long(
                prompt,
                longest,
                "messages",
                because=f"it takes {size(needed)}, and there is memory for {size(self._limit)}",
                hint="shorten the prompt, or make room: `lmx ps` lists what is loaded, `lmx unload` unloads it",
            )

    def admits(self, asked: Reservation, running: Sequence[Reservation]) -> bool:
        """Return whether a request may start or resume now. One that passed `check` always may if nothing else runs."""
        return not self._limit or not running or self.reserved([*running, asked]) <= self._limit

    def reserved(self, running: Sequence[Reservation]) -> int:
        """Return the bytes that all running requests reserve."""
        return sum(each.choices * self._shape.bytes(each.tokens) + each.scratch for each in running)

    def overflows(self, running: Sequence[Reservation]) -> bool:
        """Return whether the running requests together hold more than the limit.

        A single request never overflows, because its length is limited from the start.
        """
        if not self._limit or len(running) < 2 or self.reserved(running) <= self._limit:
            return False
        held = sum(each.choices * self._shape.bytes(each.prompt + each.generated) + each.scratch for each in running)
        return held > self._limit

    def for_prefixes(self, most: int | None, running: Sequence[Reservation]) -> int:
        """Return the bytes that stored prefixes may take beside the running requests.

        `most` is the configured limit; None stands for half of the memory for caches.
        """
        if most is None:
            most = min(self._limit // 2, MAX_PREFIX_BYTES) if self._limit else DEFAULT_PREFIX_BYTES
        return most if not self._limit else max(0, min(most, self._limit - self.reserved(running)))
