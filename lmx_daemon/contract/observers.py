"""The protocol of request observers: history, metrics, traces and the log learn of requests by it.

An observer never affects a request: it returns nothing, and one that raises is logged and dropped from the list.
"""

from typing import Protocol

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.generation.events import Event, Started
from lmx_daemon.contract.generation.requests import Request


class RequestObserver(Protocol):
    """Receiver of the life of each request. All methods are called on the event loop and must return at once."""

    observes_events: bool
    """Whether `started` and `event` are called. False keeps the observer off the path of streamed deltas."""

    def queued(self, request: Request) -> None:
        """Take note of an accepted request. It may wait for its model, or for other requests."""

    def started(self, request: Request, event: Started) -> None:
        """Take note of the start of prefill."""

    def event(self, request: Request, event: Event) -> None:
        """Take note of any other event, the terminal one included. Called for each streamed delta."""

    def ended(self, request: Request, row: RequestRow) -> None:
        """Take note of the end; called once for each request that was queued. `row` is its final state."""

    def refused(self, request: Request, row: RequestRow) -> None:
        """Take note of a request that was not queued. `row` has the error. Called often while clients are too many."""
