"""An array with a revision number that grows when the array changes."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Revised(Generic[T]):
    """The last state of an array. Unchanged elements are compared by identity first, so that an idle check is cheap."""

    def __init__(self) -> None:
        self.items: tuple[T, ...] = ()
        self.revision = 0
        """0 for the empty array at the start."""

    def update(self, items: Iterable[T]) -> tuple[T, ...]:
        """Set the array and return it; the tuple is the same object as long as its elements are equal."""
        new = tuple(items)
        if new != self.items:
            self.items, self.revision = new, self.revision + 1
        return self.items
