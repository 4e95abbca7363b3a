"""Models that evict each other in turn, and the time for which each of them stays. Pure.

The first two evictions between two models are not delayed. After them, each of the two stays for a multiple of its load
time, so that the machine computes for most of the time. Other models may be loaded in its place at any time.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

HOLD_FACTOR = 4.0
"""Time for which a model stays, as a multiple of its load time."""


class Replaceable(Protocol):
    """The part of a resident that its turn depends on; see `resident.Resident`."""

    displaced: frozenset[str]
    """Ids of the models that were unloaded for it."""
    returns: int
    """Number of times in a row that the model and another one have evicted each other."""
    ready_at: float
    """Time when its load ended."""
    load_seconds: float
    """Time that its load took."""


T = TypeVar("T", bound=Replaceable)


def rivals(model: str, others: Iterable[T]) -> list[T]:
    """Return those of `others` for which `model` was evicted."""
    return [other for other in others if model in other.displaced]


def returns_of(model: str, evicted: Iterable[Replaceable]) -> int:
    """Return the number of times in a row that `model` and one of `evicted` have evicted each other."""
    return max((other.returns + 1 for other in rivals(model, evicted)), default=0)


def held_until(other: Replaceable, limit: float) -> float:
    """Return the time until which `other` stays if the model to be loaded was evicted for it.

    It stays for at most `limit` seconds.
    """
    return other.ready_at + min(HOLD_FACTOR * other.load_seconds, limit) if other.returns else other.ready_at
