"""The engine's guard: no prompt begins whose keys and values would not fit. Arithmetic only; it knows no MLX.

A request reserves what its prompt and a good part of its answer will take; what runs longer is counted as it grows.
"""

from dataclasses import dataclass

from lmx_daemon.contract.errors import prompt_too_long
from lmx_daemon.contract.frames import CACHE_BLOCK, CacheShape
from lmx_daemon.contract.units import size

FORESEEN_TOKENS = 1024
"""Of an answer, so many are reserved from the start: most end sooner, and reserving all would let too few run."""
FEWEST_PREFIXES = 512 * 1024 * 1024
"""Bytes for stored prefixes where no limit is known."""
MOST_PREFIXES = 8 * 1024**3
"""Bytes that they have by default where there is much."""


@dataclass(frozen=True)
class Reservation:
    prompt: int
    most: int
    """Tokens that the answer may have."""
    choices: int = 1

    def tokens(self, generated: int) -> int:
        """Of one sequence, when `generated` tokens are there: with as many more as are foreseen."""
        return self.prompt + min(self.most, max(FORESEEN_TOKENS, generated + CACHE_BLOCK))


class Admission:
    """Owned by the engine thread."""

    def __init__(self, shape: CacheShape, cache_bytes: int = 0) -> None:
        self._shape = shape
        self._limit = cache_bytes
        self._open: dict[str, Reservation] = {}
        self._generated: dict[str, int] = {}

    def grant(self, cache_bytes: int) -> None:
        """0 is no limit."""
        self._limit = cache_bytes

    def longest(self, choices: int, context: int) -> int:
        """Tokens of the longest sequence for which there would be room, alone; at most `context`."""
        return context if not self._limit else self._shape.tokens(self._limit // choices, context)

    def check(self, prompt: int, choices: int, context: int) -> None:
        """Raise ContextLengthError for a prompt that would not fit even alone."""
        longest = self.longest(choices, context)
        if prompt >= longest:
            needed = choices * self._shape.bytes(prompt + 1)
            raise prompt_too_long(
                prompt,
                longest,
                "messages",
                because=f"its cache takes {size(needed)}, and there is memory for {size(self._limit)}",
                hint="shorten the prompt, or make room: `lmx ps` lists what is loaded, `lmx unload` unloads it",
            )

    def admits(self, asked: Reservation, generated: int = 0) -> bool:
        """Whether it may begin now, or go on. One that passed `check` always may where nothing else runs."""
        return not self._limit or not self._open or self.reserved() + self._bytes(asked, generated) <= self._limit

    def open(self, identity: str, reservation: Reservation, generated: int = 0) -> None:
        self._open[identity] = reservation
        self._generated[identity] = generated

    def grew(self, identity: str, generated: int) -> None:
        self._generated[identity] = generated

    def close(self, identity: str) -> None:
        self._open.pop(identity, None)
        self._generated.pop(identity, None)

    def reserved(self) -> int:
        """Bytes that what runs will take, as far as that is foreseen."""
        return sum(self._bytes(asked, self._generated.get(name, 0)) for name, asked in self._open.items())

    def overflow(self) -> str | None:
        """The youngest of those that run, where together they outgrew the limit; one alone never does."""
        if not self._limit or len(self._open) < 2 or self.reserved() <= self._limit:
            return None
        held = sum(
            asked.choices * self._shape.bytes(asked.prompt + self._generated.get(name, 0))
            for name, asked in self._open.items()
        )
        return list(self._open)[-1] if held > self._limit else None

    def for_prefixes(self, most: int | None) -> int:
        """Bytes that stored prefixes may have beside what runs: at most `most`, by default a half of all there is."""
        if most is None:
            most = min(self._limit // 2, MOST_PREFIXES) if self._limit else FEWEST_PREFIXES
        return most if not self._limit else max(0, min(most, self._limit - self.reserved()))

    def _bytes(self, asked: Reservation, generated: int) -> int:
        return asked.choices * self._shape.bytes(asked.tokens(generated))
