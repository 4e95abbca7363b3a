"""Requests that wait for a place in the batch, and whose turn it is. Decisions only; it knows no MLX.

Higher priority first; then whoever has least running, so that one client's hundred requests do not hold up another's
one; then who came first.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from lmx_daemon.contract.generation import Generate


class Asked(Protocol):
    """A request under way, as this module sees it."""

    @property
    def request(self) -> Generate: ...


T = TypeVar("T", bound=Asked)
Client = tuple[str, str]


def fair_order(waiting: Sequence[T], running: Iterable[Asked]) -> Iterator[T]:
    """`waiting`, which is in order of arrival, in the order in which they should start beside `running`."""
    counts = Counter[Client]()
    for asked in running:
        counts[client_of(asked.request)] += asked.request.choices
    lines: dict[tuple[int, Client], deque[tuple[int, T]]] = {}
    for arrival, one in enumerate(waiting):
        key = -one.request.priority, client_of(one.request)
        lines.setdefault(key, deque()).append((arrival, one))
    while lines:
        key = min(lines, key=lambda key: (key[0], counts[key[1]], lines[key][0][0]))
        _, chosen = lines[key].popleft()
        if not lines[key]:
            del lines[key]
        counts[key[1]] += chosen.request.choices
        yield chosen


def client_of(request: Generate) -> Client:
    """Who is treated as one: a key's holder, and beside that each program."""
    return request.tenant, request.client
