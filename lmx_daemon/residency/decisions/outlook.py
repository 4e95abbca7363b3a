"""The outlook of a request for a model. The router compares the models of a list by their outlooks. Pure."""

from dataclasses import dataclass
from typing import Literal

from lmx_daemon.residency.decisions.loading.placement import Decision, Fits, Refused

Placing = Literal["fits", "evicts", "refused"]
"""Result of a load: fits beside the other models, evicts one of them (at once or later), or is refused."""


@dataclass(frozen=True)
class Outlook:
    """State of one installed model."""

    resident: bool = False
    """Whether the model is loaded or loading."""
    size: int = 0
    """Bytes of its weights' files."""
    failing: bool = False
    """Whether its load would be refused: its files are faulty, or it keeps crashing or running out of memory."""
    overloaded: bool = False
    """Whether its queue has no place for the request."""
    placing: Placing = "fits"
    """Result of its load; "fits" for a resident."""


def placing_of(decision: Decision) -> Placing:
    """Return the result of a load that `decision` allows or refuses."""
    match decision:
        case Fits(evict=()):
            return "fits"
        case Refused():
            return "refused"
        case _:
            return "evicts"
