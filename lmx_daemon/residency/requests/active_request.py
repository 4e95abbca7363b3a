"""A request in the daemon: its events for one reader, and its row for the monitor.

It is the only record of the request outside the worker. It does not decide anything; `RequestRegistry` holds it.
"""

import asyncio
import time
from collections.abc import Callable

from lmx_daemon.contract.admin.snapshot import RequestRow, RequestState
from lmx_daemon.contract.errors import BusyError, LmxError
from lmx_daemon.contract.generation.events import (
    Counted,
    Decided,
    Delta,
    Ending,
    Event,
    Failed,
    Finished,
    Loading,
    Prefill,
    Queued,
    Started,
    Timings,
    is_terminal,
)
from lmx_daemon.contract.generation.requests import Computation, Generate, Request
from lmx_daemon.contract.shares import share_of
from lmx_daemon.residency.requests.observers import Observers

MAX_EVENTS = 16_384
"""Number of events that may wait for a reader. A reader that is further behind has stopped reading."""


class ActiveRequest:
    """A request from its arrival to the reading of its last event, which is terminal."""

    def __init__(
        self,
        request: Request,
        on_cancel: Callable[["ActiveRequest"], None],
        observers: Observers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin the record of `request`. `on_cancel` carries a cancellation out; `observers` are notified of events."""
        self.request = request
        self.share = share_of(request)
        """Share that the request is counted for in the queue of its model."""
        self.arrived = clock()
        """Monotonic time, as all times here but `started_at` of the row."""
        self.instance = ""
        """Id of the instance that serves the request."""
        self.closed = False
        """Whether the terminal event has arrived."""
        self.at_worker = False
        """Whether a worker holds the request: it was submitted, and the worker has not sent the terminal event."""
        self.released = False
        """Whether the reader has finished with the request."""
        self._clock = clock
        self._arrived_at = time.time()
        self._on_cancel = on_cancel
        self._observers = observers or Observers()
        self._events: list[Event] = []
        self._unread_since = 0.0
        self._reader: asyncio.Future[None] | None = None
        self._state: RequestState = "queued"
        self._position: int | None = None
        self._progress: float | None = None
        self._started: Started | None = None
        self._started_at: float | None = None
        self._load_seconds = 0.0
        self._first_token: float | None = None
        self._tokens = 0
        self._error: Failed | None = None
        self._finished: Finished | None = None
        self._ended: float | None = None

    @property
    def id(self) -> str:
        """Id of the request, unique among all requests that are under way."""
        return self.request.id

    @property
    def begun(self) -> bool:
        """Return whether the worker has begun to compute the answer."""
        return self._started is not None

    @property
    def waiting(self) -> bool:
        """Return whether the request waits for its model to be loaded."""
        return not self.closed and not self.at_worker

    @property
    def under_way(self) -> bool:
        """Return whether the request needs its model: it waits, runs, or its worker has not confirmed its end."""
        return not self.closed or self.at_worker

    def put(self, event: Event) -> None:
        """Add the next event. Events after the terminal one are ignored."""
        if self.closed:
            return
        if len(self._events) >= MAX_EVENTS and not is_terminal(event):
            self.fail(BusyError("the answer was not read, and has been stopped"))
            self._on_cancel(self)
            return
        self._observe(event)
        if self._observers.of_events:
            self._observers.event(self.request, event)
        if not self._events:
            self._unread_since = self._clock()
        self._events.append(event)
        if self._reader is not None:
            _wake(self._reader)

    def fail(self, error: LmxError) -> None:
        """End the request with `error`."""
        self.put(Failed(id=self.id, error=error.body()))

    def finish_cancelled(self) -> None:
        """End the request as cancelled, with no text for any of its choices."""
        choices = self.request.choices if isinstance(self.request, Generate) else 1
        self.put(Finished(id=self.id, endings=(Ending(reason="cancelled"),) * choices))

    def cancel(self) -> None:
        """Cancel the request. Has no effect after its end."""
        if not self.closed:
            self._on_cancel(self)

    @property
    def read(self) -> bool:
        """Return whether the terminal event has been read."""
        return self.closed and not self._events

    async def take(self, patience: float | None = None) -> list[Event]:
        """Return all events that have arrived, as soon as there is one.

        Events that arrived together are returned together, so that they can leave in one write. Return [] if none
        arrives within `patience` seconds.
        """
        if not self._events:
            # Once for each token of each stream: asyncio.wait would make a second future and a set each time.
            loop = asyncio.get_running_loop()
            self._reader = loop.create_future()
            timer = None if patience is None else loop.call_later(patience, _wake, self._reader)
            try:
                await self._reader
            finally:
                if timer is not None:
                    timer.cancel()
        events, self._events = self._events, []
        return events

    def unread_for(self) -> float:
        """Return the seconds for which the oldest event has waited for a reader."""
        return self._clock() - self._unread_since if self._events else 0.0

    def row(self) -> RequestRow:
        """Return the request's row for the monitor."""
        request, now = self.request, self._clock()
        computation = request if isinstance(request, Computation) else None
        generate = request if isinstance(request, Generate) else None
        return RequestRow(
            id=self.id,
            model=request.model,
            state=self._state,
            instance=self.instance,
            client=computation.client if computation else "",
            route=computation.route if computation else "count",
            tenant=request.tenant,
            started_at=self._arrived_at,
            age=(self._ended or now) - self.arrived,
            position=self._position,
            progress=self._progress,
            prompt_tokens=self._started.prompt_tokens if self._started else None,
            cached_tokens=self._started.cached_tokens if self._started else None,
            truncated_tokens=self._started.truncated_tokens if self._started else 0,
            first_difference=self._started.first_difference if self._started else None,
            miss=self._started.miss if self._started else "",
            completion_tokens=self._tokens,
            max_tokens=generate.max_tokens if generate else None,
            rate=self._rate(now),
            first_token=self._first_token - self.arrived if self._first_token is not None else None,
            error=self._error.error if self._error else None,
            finish=self._finished.reason if self._finished else "",
            timings=self.timings() if self.closed else None,
            asked=request.asked,
            routed=request.routed,
        )

    def timings(self) -> Timings:
        """Return the durations of the stages so far. The worker's figures are used once they are known."""
        if self._finished is not None and self._started is not None:
            return self._finished.timings
        end = self._ended or self._clock()
        started = end if self._started_at is None else self._started_at
        first = end if self._first_token is None else self._first_token
        return Timings(
            queue=started - self.arrived,
            prefill=first - started,
            first_token=first - self.arrived,
            decode=end - first,
            load=self._load_seconds,
        )

    def _rate(self, now: float) -> float:
        """Return tokens a second. The worker's figure is used once it is known: a short answer arrives all at once."""
        if self._finished is not None:
            return self._finished.timings.tokens_per_second(self._tokens)
        decoding = (self._ended or now) - self._first_token if self._first_token is not None else 0.0
        return (self._tokens - 1) / decoding if decoding > 0.0 and self._tokens > 1 else 0.0

    def _observe(self, event: Event) -> None:
        match event:
            case Delta(tokens=tokens):  # first, since most events are
                if self._first_token is None:
                    self._first_token = self._clock()
                self._state, self._progress = "decode", None
                self._tokens += tokens
            case Queued(position=position):
                self._state, self._position = "queued", position
            case Loading(fraction=fraction):
                self._state, self._progress = "loading", fraction
            case Started():
                self._state, self._started, self._progress, self._position = "prefill", event, None, None
                self._started_at = self._clock()
            case Prefill(done=done, total=total):
                self._progress = done / total if total else None
            case Finished():
                cancelled = all(ending.reason == "cancelled" for ending in event.endings)
                self._tokens, self._finished = event.usage.completion_tokens, event
                self._close("cancelled" if cancelled else "finished")
            case Decided() | Counted():
                self._close("finished")
            case Failed():
                self._error = event
                self._close("failed")

    def _close(self, state: RequestState) -> None:
        self._ended = self._clock()
        if self._state == "loading":
            self._load_seconds = self._ended - self.arrived
        self._state, self.closed = state, True


def _wake(reader: "asyncio.Future[None]") -> None:
    if not reader.done():
        reader.set_result(None)
