"""Several requests that have one answer: their events in one sequence, with the choices numbered request by request."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from lmx_daemon.contract.generation.events import Delta, Event, Failed, Finished, PromptTokens, Usage
from lmx_daemon.contract.generation.requests import Generate, Request
from lmx_daemon.residency.requests.active_request import ActiveRequest


class Submitting(Protocol):
    """The part of a pool that requests begin and end with."""

    def submit(self, request: Request) -> ActiveRequest:
        """Return the record of a new request."""

    def release(self, active: ActiveRequest) -> None:
        """End the reading of a request; one that still runs is cancelled."""


class SeveralRequests:
    """Requests that are read together. The first failure ends the answer; releasing it cancels all of them."""

    def __init__(self, pool: Submitting, requests: Sequence[Generate]) -> None:
        """Submit `requests`. Raise what prevents one of them from being queued; no other is left in the queue then."""
        self._pool = pool
        self._active: list[ActiveRequest] = []
        self._first: list[int] = []
        """Number of the first choice of each request."""
        self._finished: dict[int, Finished] = {}
        self._reading: dict[asyncio.Task[list[Event]], int] = {}
        self.read = False
        """Whether the terminal event has been read."""
        self.choices = 0
        """Number of choices of all requests."""
        try:
            for request in requests:
                self._active.append(pool.submit(request))
                self._first.append(self.choices)
                self.choices += request.choices
        except BaseException:
            self.release(self)
            raise

    async def take(self, patience: float | None = None) -> list[Event]:
        """Return the events that have arrived; [] if none arrives within `patience` seconds."""
        if not self._reading and not self._finished:
            for place in range(len(self._active)):
                self._read_on(place)
        done, _ = await asyncio.wait(self._reading, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        found: list[Event] = []
        for task in done:
            place = self._reading.pop(task)
            for event in task.result():
                found += self._numbered(place, event)
                if self.read:
                    return found
            if place not in self._finished:
                self._read_on(place)
        return found

    def release(self, reader: object) -> None:
        """End the reading. `reader` is this object, which takes the place of a pool and of a request."""
        for task in self._reading:
            task.cancel()
        self._reading.clear()
        for active in self._active:
            self._pool.release(active)
        self._active = []

    def _read_on(self, place: int) -> None:
        self._reading[asyncio.ensure_future(self._active[place].take())] = place

    def _numbered(self, place: int, event: Event) -> list[Event]:
        """Return the event as one of the whole answer, whose last one is made of those of all requests."""
        match event:
            case Delta() | PromptTokens():
                return [msgspec.structs.replace(event, choice=event.choice + self._first[place])]
            case Finished():
                self._finished[place] = event
                self.read = len(self._finished) == len(self._first)
                return [merged([self._finished[each] for each in range(len(self._first))])] if self.read else []
            case Failed():
                self.read = True
        return [event]


def merged(ends: Sequence[Finished]) -> Finished:
    """Return the end of an answer of several requests: all choices, and the sum of their tokens."""
    usage = Usage(**{name: sum(getattr(end.usage, name) for end in ends) for name in Usage.__struct_fields__})
    endings = tuple(ending for end in ends for ending in end.endings)
    return msgspec.structs.replace(ends[0], endings=endings, usage=usage)
