"""The order in which waiting requests start. Decisions only; it imports no MLX.

Higher priority goes first. Then the tenant with the fewest running choices goes first, within it the client program
with the fewest, and within that the user with the fewest, so that a hundred requests of one do not hold up one request
of another. Then requests go in the order of their arrival.

The levels are those of `contract.shares`.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from lmx_daemon.contract.generation.requests import Computation
from lmx_daemon.contract.shares import Share, share_of


class QueuedRequest(Protocol):
    """The part of a request that its turn depends on."""

    @property
    def computation(self) -> Computation:
        """The request as the client sent it."""


T = TypeVar("T", bound=QueuedRequest)


def fair_order(waiting: Sequence[T], running: Iterable[QueuedRequest]) -> Iterator[T]:
    """Yield `waiting`, given in order of arrival, in the order in which the requests should start beside `running`."""
    queues: dict[tuple[int, Share], deque[tuple[int, T]]] = {}
    for arrival, each in enumerate(waiting):
        key = -each.computation.priority, share_of(each.computation)
        queues.setdefault(key, deque()).append((arrival, each))
    if len(queues) < 2:  # the usual case: one client, or nothing waits
        yield from waiting
        return
    by_user = defaultdict[Share, int](int)
    for request in running:
        by_user[share_of(request.computation)] += request.computation.rows
    counts = defaultdict[Share, int](int)
    for share, choices in by_user.items():
        _count(counts, share, choices)

    def turn(key: tuple[int, Share]) -> tuple[int, ...]:
        priority, share = key
        return priority, counts[share[:1]], counts[share[:2]], counts[share], queues[key][0][0]

    while queues:
        key = min(queues, key=turn)
        _, chosen = queues[key].popleft()
        if not queues[key]:
            del queues[key]
        _count(counts, key[1], chosen.computation.rows)
        yield chosen


def _count(counts: defaultdict[Share, int], share: Share, choices: int) -> None:
    """Add to a user's share and to those that contain it."""
    for length in (1, 2, 3):
        counts[share[:length]] += choices
