"""Counters and histograms with labels, as plain numbers. Only the event loop uses them, without locks.

They cost a dictionary look-up and an addition each. The package prometheus_client, whose import takes 40 ms, is loaded
only to write them out.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

Labels = tuple[str, ...]


class Tally:
    """A counter for each combination of labels."""

    def __init__(self) -> None:
        self.values: dict[Labels, float] = defaultdict(float)

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Add `amount` to one counter."""
        self.values[labels] += amount


class Distribution:
    """A histogram for each combination of labels."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begin without values. `bounds` are the upper bounds of the buckets, in order."""
        self.bounds = tuple(bounds)
        self.counts: dict[Labels, list[int]] = {}
        """Number of values in each bucket; the last one has those above all bounds."""
        self.sums: dict[Labels, float] = defaultdict(float)

    def add(self, labels: Labels, value: float) -> None:
        """Count one value."""
        counts = self.counts.get(labels)
        if counts is None:
            counts = self.counts[labels] = [0] * (len(self.bounds) + 1)
        counts[bisect_left(self.bounds, value)] += 1
        self.sums[labels] += value


class BoundedNames:
    """The names that may be labels: the first `most` ones; every later one is "other"."""

    OTHER = "other"

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: set[str] = set()

    def known(self, name: str) -> str:
        """Return the label for `name` without adding it."""
        return name if name in self._names else self.OTHER

    def of(self, name: str) -> str:
        """Return the label for `name`."""
        if name in self._names:
            return name
        if len(self._names) >= self._most:
            return self.OTHER
        self._names.add(name)
        return name
