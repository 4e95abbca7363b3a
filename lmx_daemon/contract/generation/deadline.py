"""Deadlines of requests. The daemon enforces them while the model loads, the engine afterwards."""

from lmx_daemon.contract.errors import DeadlineError
from lmx_daemon.contract.generation.requests import Computation, Request


def patience(request: Request | Computation, *, begun: bool) -> float | None:
    """Return the limit in seconds from the request's arrival, or None if there is none.

    A request that has not begun is also bound by its queue deadline.
    """
    if not isinstance(request, Computation):
        return None
    limits = (request.deadline,) if begun else (request.deadline, request.queue_deadline)
    return min((limit for limit in limits if limit is not None), default=None)


def too_late(limit: float | None, *, begun: bool) -> DeadlineError:
    """Return the error of a request that exceeds its limit."""
    fault = "took longer than its deadline" if begun else "had not begun at its deadline"
    return DeadlineError(f"the request {fault} of {limit or 0.0:g} s")
