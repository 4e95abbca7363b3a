"""Figures of the machine's memory: the budget of all models, the use of one process, and memory pressure."""

from dataclasses import dataclass
from typing import Literal

Pressure = Literal["normal", "warning", "critical"]
"""Memory pressure as reported by the operating system."""


@dataclass(frozen=True)
class ProcessUse:
    """Use of one process as counted by the operating system."""

    memory: int = 0
    """Bytes of private pages, in memory or swapped out, without mapped files."""
    read: int = 0
    """Bytes read from files since the start; 0 if unknown."""


@dataclass(frozen=True)
class MemoryBudget:
    """Memory that all models share, in bytes."""

    cap: int
    """Maximum of all models together."""
    available: int | None = None
    """Memory that the system can still provide; None if there is no such limit, as for a GPU with memory of its own."""
    pressure: Pressure = "normal"
