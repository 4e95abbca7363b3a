"""One request on its way: its events for the one who asked, and its row for the monitor."""

import asyncio
import time
from collections.abc import Callable

from lmx_daemon.contract.admin.snapshot import RequestRow, RequestState
from lmx_daemon.contract.errors import BusyError, LmxError
from lmx_daemon.contract.events import (
    Counted,
    Delta,
    Event,
    Failed,
    Finished,
    Loading,
    Prefill,
    Queued,
    Started,
    is_terminal,
)
from lmx_daemon.contract.requests import Generate, Request
from lmx_daemon.residency.observers import Observers

MAX_EVENTS = 16_384
"""What may wait for a reader; more means that it has stopped reading."""


class ActiveRequest:
    """`take` its events until it is `read`; the last one is terminal. `cancel` may be called at any time, by anyone."""

    def __init__(
        self, request: Request, on_cancel: Callable[["ActiveRequest"], None], observers: Observers | None = None
    ) -> None:
        self.request = request
        self.arrived = time.monotonic()
        self.instance = ""
        self.closed = False
        """A terminal event has come."""
        self._arrived_at = time.time()
        self._on_cancel = on_cancel
        self._observers = observers or Observers()
        self._events: list[Event] = []
        self._unread_since = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._state: RequestState = "queued"
        self._position: int | None = None
        self._progress: float | None = None
        self._started: Started | None = None
        self._first_token: float | None = None
        self._tokens = 0
        self._error: Failed | None = None
        self._finished: Finished | None = None
        self._ended: float | None = None

    @property
    def id(self) -> str:
        return self.request.id

    def put(self, event: Event) -> None:
        """The next event; ignored after the terminal one."""
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
            self._unread_since = time.monotonic()
        self._events.append(event)
        if self._waiter is not None:
            _wake(self._waiter)

    def fail(self, error: LmxError) -> None:
        self.put(Failed(id=self.id, error=error.body()))

    def cancel(self) -> None:
        if not self.closed:
            self._on_cancel(self)

    @property
    def read(self) -> bool:
        """Its terminal event has been taken."""
        return self.closed and not self._events

    async def take(self, patience: float | None = None) -> list[Event]:
        """All events that are there, once there are any: what came together can leave in one write. None of them
        where there are none within `patience` seconds."""
        if not self._events:
            # Once for each token of each stream: asyncio.wait would make a second future and a set each time.
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if patience is None else loop.call_later(patience, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                if timer is not None:
                    timer.cancel()
        events, self._events = self._events, []
        return events

    def unread_for(self) -> float:
        """Seconds for which its oldest event has waited for a reader."""
        return time.monotonic() - self._unread_since if self._events else 0.0

    def row(self) -> RequestRow:
        request, now = self.request, time.monotonic()
        generate = request if isinstance(request, Generate) else None
        return RequestRow(
            id=self.id,
            model=request.model,
            state=self._state,
            instance=self.instance,
            client=generate.client if generate else "",
            route=generate.route if generate else "count",
            tenant=request.tenant,
            started_at=self._arrived_at,
            age=(self._ended or now) - self.arrived,
            position=self._position,
            progress=self._progress,
            prompt_tokens=self._started.prompt_tokens if self._started else None,
            cached_tokens=self._started.cached_tokens if self._started else None,
            first_difference=self._started.first_difference if self._started else None,
            miss=self._started.miss if self._started else "",
            completion_tokens=self._tokens,
            max_tokens=generate.max_tokens if generate else None,
            rate=self._rate(now),
            first_token=self._first_token - self.arrived if self._first_token is not None else None,
            error=self._error.error if self._error else None,
        )

    def _rate(self, now: float) -> float:
        """Tokens a second. The worker's own figure once it is known: a short answer arrives here all at once."""
        if self._finished is not None:
            return self._finished.timings.tokens_per_second(self._tokens)
        decoding = (self._ended or now) - self._first_token if self._first_token is not None else 0.0
        return (self._tokens - 1) / decoding if decoding > 0.0 and self._tokens > 1 else 0.0

    def _observe(self, event: Event) -> None:
        match event:
            case Delta(tokens=tokens):  # first, since most events are
                if self._first_token is None:
                    self._first_token = time.monotonic()
                self._state, self._progress = "decode", None
                self._tokens += tokens
            case Queued(position=position):
                self._state, self._position = "queued", position
            case Loading(fraction=fraction):
                self._state, self._progress = "loading", fraction
            case Started():
                self._state, self._started, self._progress, self._position = "prefill", event, None, None
            case Prefill(done=done, total=total):
                self._progress = done / total if total else None
            case Finished():
                cancelled = all(ending.reason == "cancelled" for ending in event.endings)
                self._tokens, self._finished = event.usage.completion_tokens, event
                self._close("cancelled" if cancelled else "finished")
            case Counted():
                self._close("finished")
            case Failed():
                self._error = event
                self._close("failed")

    def _close(self, state: RequestState) -> None:
        self._state, self.closed, self._ended = state, True, time.monotonic()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
