"""The memory of the machine as figures: what models share, what one process takes, and how short memory is."""

from dataclasses import dataclass
from typing import Literal

Pressure = Literal["normal", "warning", "critical"]
"""How short of memory the operating system reports to be."""


@dataclass(frozen=True)
class ProcessUse:
    """Bytes that the operating system counts for one process."""

    memory: int = 0
    """Pages that only this process holds, in memory or swapped out; mapped files are left out."""
    read: int = 0
    """Read from files since it started; 0 where that is not known."""


@dataclass(frozen=True)
class MemoryBudget:
    """The memory that models share, in bytes."""

    cap: int
    """All of them together stay under it."""
    available: int | None = None
    """What the system could still give; None where that is no limit, as for a GPU with memory of its own."""
    pressure: Pressure = "normal"
