"""A bound on how often something is noted, so that a flood of it displaces nothing else."""

from collections.abc import Callable


class Allowance:
    """A number of notes a second. Unused ones are kept for one second."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second, self._clock = per_second, clock
        self._left, self._at = per_second, clock()

    def take(self) -> bool:
        """Return whether one more may be noted now."""
        now = self._clock()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
