"""Requests that this worker has accepted, from their Submit frame to their terminal event.

A request is first in preparation (its prompt becomes tokens) and then with the engine. Each transition holds the lock,
so that exactly one thread ends a request. This module imports neither an engine nor the socket.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lmx_daemon.contract.generation.deadline import patience, too_late
from lmx_daemon.contract.generation.events import Ending, Event, Failed, Finished
from lmx_daemon.contract.generation.requests import Generate, Request
from lmx_daemon.contract.worker.messages import Submit


@dataclass(eq=False)
class Submission:
    """An accepted request. A later one with the same id is another object, so that the two cannot be confused."""

    request: Request
    arrived: float
    """Monotonic time at which the request arrived in the daemon."""
    load_seconds: float = 0.0

    @property
    def id(self) -> str:
        return self.request.id


class Submissions:
    """All open requests by id. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[str, Submission] = {}
        self._preparing: dict[str, Submission] = {}
        """Requests in preparation, oldest first."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def preparing(self) -> int:
        """Number of requests in preparation."""
        return len(self._preparing)

    def add(self, submit: Submit) -> None:
        """Accept a request and put it into preparation."""
        arrived = time.monotonic() - submit.waited
        with self._changed:
            submission = Submission(submit.request, arrived, submit.load_seconds)
            self._open[submission.id] = self._preparing[submission.id] = submission
            self._changed.notify()

    def next(self, patience: float | None = None) -> Submission | None:
        """Wait for a request in preparation and return the oldest; None after `patience` seconds, or after `wake`."""
        with self._changed:
            if not self._preparing:
                self._changed.wait(patience)
            return next(iter(self._preparing.values()), None)

    def wake(self) -> None:
        """End the wait of `next`."""
        with self._changed:
            self._changed.notify()

    def is_preparing(self, submission: Submission) -> bool:
        """Return whether `submission` is still in preparation: it was not cancelled, and is not overdue."""
        return self._preparing.get(submission.id) is submission

    def hand_over(self, submission: Submission, act: Callable[[], None]) -> None:
        """Call `act` to give a prepared request to the engine. Has no effect if the request has ended meanwhile."""
        with self._changed:
            if self.is_preparing(submission):
                del self._preparing[submission.id]
                act()  # under the lock, so that a Cancel reaches the engine after the request itself

    def end(self, submission: Submission) -> bool:
        """End a request that is in preparation. Return False if it has ended already."""
        with self._changed:
            if not self.is_preparing(submission):
                return False
            del self._preparing[submission.id], self._open[submission.id]
            return True

    def cancel(self, identity: str, drop: Callable[[], None]) -> Event | None:
        """End a request in preparation and return its terminal event, or call `drop` if the engine has it."""
        with self._changed:
            submission = self._open.get(identity)
            if submission is None:
                return None
            if self._preparing.pop(identity, None) is None:
                drop()
                return None
            del self._open[identity]
        choices = submission.request.choices if isinstance(submission.request, Generate) else 1
        return Finished(id=identity, endings=(Ending(reason="cancelled"),) * choices)

    def closed(self, identity: str) -> None:
        """Forget a request that the engine has ended."""
        with self._changed:
            self._open.pop(identity, None)

    def overdue(self, now: float) -> list[Event]:
        """End the requests in preparation whose deadline has passed, and return their terminal events."""
        if not self._preparing:
            return []
        events: list[Event] = []
        with self._changed:
            for submission in list(self._preparing.values()):
                limit = patience(submission.request, begun=False)
                if limit is not None and now > submission.arrived + limit:
                    del self._preparing[submission.id], self._open[submission.id]
                    events.append(Failed(id=submission.id, error=too_late(limit, begun=False).body()))
        return events
