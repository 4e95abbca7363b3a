"""Places in the queue of one model: which waiting request yields its place to a new one. Pure.

A model has a limited number of places. Once all are taken, a request of a client that holds few of them gets the place
of the newest waiting request of the client that holds most. So one client cannot keep the others out.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from lmx_daemon.contract.generation.requests import Computation, Request
from lmx_daemon.contract.shares import Share, share_of
from lmx_daemon.residency.decisions.loading.refusal import queue_is_full
from lmx_daemon.settings.schema import Settings


class PlaceHolder(Protocol):
    """The part of a request that its place depends on; see `active_request.ActiveRequest`."""

    request: Request
    share: Share
    """Share that the request is counted for: `share_of(request)`, which is computed once."""
    arrived: float
    closed: bool
    released: bool

    @property
    def under_way(self) -> bool:
        """Return whether the request needs its model."""

    @property
    def begun(self) -> bool:
        """Return whether a worker has begun to compute the answer. Such a request keeps its place."""


T = TypeVar("T", bound=PlaceHolder)


def places(settings: Settings) -> int:
    """Return the number of places of one model: for requests that run, and for those that wait."""
    return settings.engine.max_running + settings.server.max_queued


def place_for(new: Request, known: Iterable[T], limit: int) -> T | None:
    """Return the request that yields its place to `new`; None if one of `limit` places is free. Raise BusyError.

    The place of a request whose client has left is free at once. Its worker confirms the end later, so twice as many
    requests may be under way as there are places.
    """
    under_way, held = 0, list[T]()
    for each in known:  # one pass, since each request of a flood is refused here
        if each.closed:
            under_way += each.under_way
        else:
            under_way += 1
            if not each.released:
                held.append(each)
    if under_way < 2 * limit:
        if len(held) < limit:
            return None
        if (found := yielding(new, held)) is not None:
            return found
    raise queue_is_full(new.model, len(held))


def yielding(new: Request, held: Sequence[T]) -> T | None:
    """Return the request that yields its place to `new`; None if `new` has to be refused.

    Tenants are compared first, then the programs of the new request's tenant, then the users of its program. A share
    yields only if it holds at least two more places than that of the new request, which therefore cannot be displaced
    in return.
    """
    rivals: Sequence[T] = held
    for level, name in enumerate(share_of(new)):
        groups = _groups(rivals, level)
        rivals = groups.pop(name, [])
        larger = [group for group in groups.values() if len(group) > len(rivals) + 1]
        if larger and (found := _largest(larger)):
            return _newest_waiting(found, level + 1)
    return None


def _groups(requests: Iterable[T], level: int) -> dict[str, list[T]]:
    """Return the requests by the name that they have at a level of their shares."""
    groups = defaultdict[str, list[T]](list)
    for each in requests:
        groups[each.share[level]].append(each)
    return groups


def _largest(groups: Iterable[list[T]]) -> list[T]:
    """Return the largest group in which a request waits; [] if there is none."""
    return max((group for group in groups if not all(each.begun for each in group)), key=len, default=[])


def _newest_waiting(group: list[T], level: int) -> T:
    """Return the waiting request that yields within a group: the newest of the lowest priority in its largest share."""
    for deeper in range(level, len(group[0].share)):
        group = _largest(_groups(group, deeper).values())
    waiting = [each for each in reversed(group) if not each.begun]
    return min(waiting, key=lambda each: (_priority(each.request), -each.arrived))


def _priority(request: Request) -> int:
    return request.priority if isinstance(request, Computation) else 0
