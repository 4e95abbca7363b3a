"""Models that take each other's place in turn, and how long each of them stays. Pure.

A change between two models, there and back, is free. From then on each of them stays for a multiple of the time of its
load, so that the machine computes for most of the time. Other models may be loaded in its place at any time.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

HOLD_FACTOR = 4.0
"""Time for which a model stays, as a multiple of the time of its load."""


class Replaceable(Protocol):
    """The part of a resident that its turn depends on; see `resident.Resident`."""

    displaced: frozenset[str]
    """Ids of the models that were unloaded for it."""
    returns: int
    """Number of times in a row that it and another model have taken each other's place."""
    ready_at: float
    """Time when its load ended."""
    load_seconds: float
    """Time that its load took."""


T = TypeVar("T", bound=Replaceable)


def rivals(model: str, others: Iterable[T]) -> list[T]:
    """Return those of `others` that have taken the place of `model`."""
    return [other for other in others if model in other.displaced]


def returns_of(model: str, evicted: Iterable[Replaceable]) -> int:
    """Return the number of times in a row that `model` and one of the models that leave for it have changed places."""
    return max((other.returns + 1 for other in rivals(model, evicted)), default=0)


def held_until(other: Replaceable, limit: float) -> float:
    """Return the time until which a model stays that has taken the place of the one to be loaded.

    The time is `limit` seconds at most.
    """
    return other.ready_at + min(HOLD_FACTOR * other.load_seconds, limit) if other.returns else other.ready_at
