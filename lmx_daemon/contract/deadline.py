"""How long a request may take: what the daemon decides while its model loads, and the engine afterwards."""

from lmx_daemon.contract.errors import DeadlineError
from lmx_daemon.contract.generation import Generate, Request


def patience(request: Request, *, begun: bool) -> float | None:
    """Seconds from its arrival; None where it may take any time."""
    if not isinstance(request, Generate):
        return None
    limits = (request.deadline,) if begun else (request.deadline, request.queue_deadline)
    return min((limit for limit in limits if limit is not None), default=None)


def too_late(limit: float | None, *, begun: bool) -> DeadlineError:
    """What it fails with then."""
    told = "took longer than its deadline" if begun else "had not begun at its deadline"
    return DeadlineError(f"the request {told} of {limit or 0.0:g} s")
