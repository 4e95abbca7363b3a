"""Calls to the request observers. An observer that raises is logged and dropped; the request is not affected."""

import logging
from collections.abc import Callable, Iterable

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.generation.events import Event, Started
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.observers import RequestObserver

LOGGER = logging.getLogger("lmx.observers")


class Observers:
    """The observers of all requests, in the order of their calls."""

    def __init__(self, observers: Iterable[RequestObserver] = ()) -> None:
        self._all = list(observers)
        self.of_events = [observer for observer in self._all if observer.observes_events]
        """Observers of events. Callers on the path of deltas check that the list is not empty before a call."""

    def queued(self, request: Request) -> None:
        """Notify all observers of an accepted request."""
        self._notify(self._all, lambda observer: observer.queued(request))

    def event(self, request: Request, event: Event) -> None:
        """Notify all observers of an event."""
        if isinstance(event, Started):
            self._notify(self.of_events, lambda observer: observer.started(request, event))
        else:
            self._notify(self.of_events, lambda observer: observer.event(request, event))

    def ended(self, request: Request, row: RequestRow) -> None:
        """Notify all observers of a request's end."""
        self._notify(self._all, lambda observer: observer.ended(request, row))

    def refused(self, request: Request, row: RequestRow) -> None:
        """Notify all observers of a request that was not queued."""
        self._notify(self._all, lambda observer: observer.refused(request, row))

    def _notify(self, observers: list[RequestObserver], call: Callable[[RequestObserver], None]) -> None:
        for observer in list(observers):
            try:
                call(observer)
            except Exception:  # a boundary: an observer must not affect a request
                self._all.remove(observer)
                self.of_events = [other for other in self.of_events if other is not observer]
                LOGGER.exception("%s raised an error and observes no further requests", type(observer).__name__)
