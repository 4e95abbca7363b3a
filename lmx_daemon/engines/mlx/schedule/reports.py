"""What the scheduler sends to the daemon: events of requests, their places in the queue, and log lines."""

from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.generation.events import Event, Queued
from lmx_daemon.contract.worker.messages import Events, Log
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest
from lmx_daemon.worker.heartbeat import HeartbeatCounters


class Reports:
    """The messages about the requests of one model. Engine thread only."""

    def __init__(self, send: Callable[[Any], None], queue: RequestQueue, counters: HeartbeatCounters) -> None:
        self._send = send
        self._queue = queue
        self._counters = counters

    def emit(self, *events: Event) -> None:
        """Send events in one message; nothing for none."""
        if events:
            self._send(Events(events=events))

    def emit_positions(self) -> None:
        """Send the place of each waiting request."""
        self.emit(*(Queued(id=each.id, position=place) for place, each in enumerate(self._queue.order(), 1)))

    def closed(self, request: EngineRequest, event: Event) -> Event:
        """Let the id of an ended request be used again, and return `event`, its last."""
        request.close()
        self._counters.submissions.closed(event.id)
        return event

    def count(self) -> None:
        """Update the heartbeat's counters: before a step, which may hang, and after it, since the next may be far."""
        queue, counters = self._queue, self._counters
        counters.running, counters.waiting = len(queue.running), len(queue.waiting)
        counters.busy = bool(queue.running or queue.waiting)

    def count_step(self, decoded: int, prefilled: int) -> None:
        """Count a step with `decoded` new tokens, after which `prefilled` prompt tokens are computed in all."""
        self._counters.steps += 1
        self._counters.decode_tokens += decoded
        self._counters.prefill_tokens = prefilled

    def log(self, level: str, message: str, request: str | None = None) -> None:
        """Send a line for the daemon's log."""
        self._send(Log(level=level, message=message, request=request))
