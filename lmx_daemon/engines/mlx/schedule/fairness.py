"""The order in which waiting requests start. Decisions only; it imports no MLX.

Higher priority goes first. Then the client with the fewest running choices goes first, so that a hundred requests of
one client do not hold up one request of another. Then requests go in the order of their arrival.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from lmx_daemon.contract.generation import Generate


class QueuedRequest(Protocol):
    """The part of a request that its turn depends on."""

    @property
    def generate(self) -> Generate:
        """The request as the client sent it."""


T = TypeVar("T", bound=QueuedRequest)
Client = tuple[str, str]
"""Tenant, and the client program within the tenant."""


def fair_order(waiting: Sequence[T], running: Iterable[QueuedRequest]) -> Iterator[T]:
    """Yield `waiting`, given in order of arrival, in the order in which the requests should start beside `running`."""
    counts = Counter[Client]()
    for request in running:
        counts[client_of(request.generate)] += request.generate.choices
    queues: dict[tuple[int, Client], deque[tuple[int, T]]] = {}
    for arrival, each in enumerate(waiting):
        key = -each.generate.priority, client_of(each.generate)
        queues.setdefault(key, deque()).append((arrival, each))
    while queues:
        key = min(queues, key=lambda key: (key[0], counts[key[1]], queues[key][0][0]))
        _, chosen = queues[key].popleft()
        if not queues[key]:
            del queues[key]
        counts[key[1]] += chosen.generate.choices
        yield chosen


def client_of(request: Generate) -> Client:
    """Return the client that a request is counted for."""
    return request.tenant, request.client
