"""The scheduler of a loaded model: it starts requests, runs steps, and turns their results into events.

Waiting requests are queue.py's, running ones slots.py's. Events leave through `send`. Engine thread only.
"""

import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import ContextLengthError, LmxError, RequestError, WorkerError
from lmx_daemon.contract.events import Event, Failed, Prefill, Queued, Started
from lmx_daemon.contract.requests import Generate
from lmx_daemon.contract.worker.messages import Events, Log, TextOptions
from lmx_daemon.engines.mlx.batch.step import FailedRows, Token
from lmx_daemon.engines.mlx.commands import Ready
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.sampling import parameters
from lmx_daemon.engines.mlx.schedule import unsupported
from lmx_daemon.engines.mlx.schedule.faults import Faults, failure_of, requests_to_fail
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.schedule.slots import BatchSlots
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.worker.heartbeat import HeartbeatCounters


class Scheduler:
    """The requests of one model, from their tokens to their last event. The constructor warms the model up."""

    def __init__(
        self,
        loaded: LoadedModel,
        abilities: ModelAbilities,
        instance: str,
        options: TextOptions,
        queue: RequestQueue,
        prefixes: PrefixSharing,
        *,
        counters: HeartbeatCounters,
        send: Callable[[Any], None],
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._loaded = loaded
        self._instance = instance
        self._options = options
        self._queue = queue
        self._prefixes = prefixes
        self._counters = counters
        self._send = send
        self._faults = Faults()
        self._bound_prefixes()
        self._slots = BatchSlots(loaded, abilities, options, prefixes, on_progress)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before the next command arrives."""
        return not self._slots.running and all(self._prefixes.is_reading(request.lookup) for request in self._queue)

    @property
    def waits(self) -> bool:
        """Whether requests are queued."""
        return bool(self._queue)

    def turn(self) -> None:
        """Fail overdue requests, start those that may start, and run one step. Raise if no step works any more."""
        if self._queue or self._slots.running:
            self._admit()
        self._count()
        if self._slots.running:
            self._step()
            self._count()
        self._prefixes.publish()

    def _count(self) -> None:
        """Update the heartbeat's counters: before a step, which may hang, and after it, since the next may be far."""
        self._counters.running, self._counters.waiting = len(self._slots.running), len(self._queue)
        self._counters.busy = bool(self._slots.running or self._queue)

    # ---- commands ----

    def receive(self, ready: Ready) -> None:
        """Queue a request whose prompt is tokenized, or fail it if this worker cannot serve it."""
        generate = ready.request
        request = EngineRequest(generate, ready.prepared, ready.arrived, ready.load_seconds, _seed_of(generate))
        try:
            self._check(request)
        except LmxError as error:
            self._end(Failed(id=request.id, error=error.body()))
            return
        request.lookup = self._prefixes.look_up(generate.cache_namespace, ready.prepared.tokens, ready.prepared.opening)
        self._queue.add(request)
        self._admit()
        self._emit_positions()

    def drop(self, identity: str) -> None:
        """End a request that was cancelled. Idempotent."""
        request = self._slots.find(identity) or self._queue.find(identity)
        if request is not None:
            self._slots.save(request)
            self._remove(request)
            self._end(request.finished(cancelled=True))
            self._emit_positions()

    def grant(self, cache_bytes: int) -> None:
        """Set the bytes for KV caches and stored prefixes, and keep to them from now on."""
        self._queue.grant(cache_bytes)
        self.make_room()

    def make_room(self) -> None:
        """Preempt the youngest requests while all together hold too much memory, and shrink the stored prefixes."""
        while youngest := self._queue.overflowing(self._slots.running):
            self._log("warning", "preempted: the running requests together need more memory", youngest.id)
            self._remove(youngest)
            self._queue.requeue(youngest)
            self._emit_positions()
        self._bound_prefixes()

    def _check(self, request: EngineRequest) -> None:
        """Raise LmxError for a request that this model or this worker cannot serve."""
        generate = request.generate
        self._queue.check(request)
        parameters.check(generate, self._loaded.vocabulary)
        unsupported.check(generate)
        if generate.choices > self._options.max_running:
            raise RequestError(f"n is at most {self._options.max_running} here", param="n")

    # ---- schedule ----

    def _admit(self) -> None:
        """Fail overdue requests, and move waiting ones into the batch in their order while there is room."""
        self._expire()
        admitted = False
        while request := self._queue.next(self._slots.running, self._slots.free, self._slots.may_start):
            admitted = True
            try:  # memory may have been taken away since it was queued
                self._queue.check(request)
            except ContextLengthError as error:
                self._end(Failed(id=request.id, error=error.body()))
                continue
            max_tokens = self._queue.begin(request).max_generated
            if request.preempted:
                self._slots.resume(request, max_tokens)
            else:
                self._start(request, max_tokens)
        if admitted:
            self._emit_positions()

    def _start(self, request: EngineRequest, max_tokens: int) -> None:
        found = self._slots.start(request, max_tokens)
        self._bound_prefixes()
        self._emit(
            Started(
                id=request.id,
                prompt_tokens=len(request.prepared.tokens),
                cached_tokens=request.cached,
                seed=request.seed,
                instance=self._instance,
                context_length=self._loaded.capabilities.context_length,
                first_difference=found.first_difference,
                miss=found.miss,
            )
        )

    def _expire(self) -> None:
        now = time.monotonic()
        for request in [*self._queue, *self._slots.running]:
            if (error := request.deadline_error(now)) is not None:
                self._remove(request)
                self._end(Failed(id=request.id, error=error.body()))

    # ---- run and emit ----

    def _step(self) -> None:
        try:
            result = self._slots.step()
        except Exception as error:  # the model's code may raise anything; that costs the batch, not the worker
            self._recover(error)
            return
        self._faults.step_succeeded()
        self._counters.steps += 1
        self._counters.decode_tokens += len(result.tokens)
        events: list[Event] = []
        for prompt in result.prompts:
            request = self._slots.of(prompt.row)
            if request is not None and prompt.total - request.cached > self._options.prefill_step:
                events.append(Prefill(id=request.id, done=prompt.done, total=prompt.total))
        for token in result.tokens:
            if (request := self._slots.of(token.row)) is not None:
                events += self._consume(request, token)
        for failed in result.failed:
            events += self._fail_rows(failed)
        self._counters.prefill_tokens = self._slots.prefill_tokens
        self._emit(*events)

    def _consume(self, request: EngineRequest, token: Token) -> list[Event]:
        """Return the events of one token. An exception, such as a detokenizer's panic, costs its request only."""
        try:
            events = request.consume(token, self._loaded.tokenizer)
        except BaseException as error:
            self._log("error", f"{type(error).__name__}: {error}", request.id)
            self._remove(request)
            failed = WorkerError(f"the answer could not be read: {type(error).__name__}: {error}")
            return [self._closed(Failed(id=request.id, error=failed.body()))]
        request.quarantined = False
        for warning in request.warnings:
            self._log("warning", warning, request.id)
        request.warnings.clear()
        if request.rows[token.row].ending is not None:
            self._slots.end_row(request, token)
        if request.done:
            events.append(self._closed(request.finished()))
        return events

    # ---- failures ----

    def _fail_rows(self, failed: FailedRows) -> list[Event]:
        """Fail the request whose own prompt could not be computed. The other rows of the batch go on."""
        traceback.print_exception(failed.error)
        failure = failure_of(failed.error)
        request = next((found for row in failed.rows if (found := self._slots.of(row)) is not None), None)
        if request is None:
            return []
        self._log("error", failure.message, request.id)
        self._remove(request)
        return [self._closed(Failed(id=request.id, error=failure.body()))]

    def _recover(self, error: Exception) -> None:
        """Replace the batch after a step that raised, and requeue its requests, which run one by one at first.

        Raise `error` if no step works any more.
        """
        traceback.print_exception(error)
        failure = failure_of(error)
        self._log("error", failure.message)
        self._prefixes.distrust()
        if not self._faults.step_failed() and not self._still_works():
            self._emit(*(self._closed(Failed(id=each.id, error=failure.body())) for each in self._slots.running))
            raise error
        took_part = self._slots.renew()
        failed = requests_to_fail(took_part)
        for request in reversed(took_part):
            if request in failed:
                self._end(Failed(id=request.id, error=failure.body()))
            else:
                self._queue.requeue(request)

    def _still_works(self) -> bool:
        """Return whether the failed steps are the fault of their requests and not of the process."""
        works = self._slots.works()
        if works:
            self._faults.step_succeeded()
        return works

    def _remove(self, request: EngineRequest) -> None:
        self._queue.remove(request)
        self._slots.remove(request)

    def _bound_prefixes(self) -> None:
        self._prefixes.resize(self._queue.for_prefixes(self._options.prefix_cache_bytes))

    # ---- events ----

    def _emit_positions(self) -> None:
        order = enumerate(self._queue.order(self._slots.running), 1)
        self._emit(*(Queued(id=request.id, position=position) for position, request in order))

    def _end(self, event: Event) -> None:
        self._emit(self._closed(event))

    def _closed(self, event: Event) -> Event:
        """Release the reservation of the request of a terminal event, and return the event."""
        self._counters.submissions.closed(event.id)
        self._queue.close(event.id)
        return event

    def _emit(self, *events: Event) -> None:
        if events:
            self._send(Events(events=events))

    def _log(self, level: str, message: str, request: str | None = None) -> None:
        self._send(Log(level=level, message=message, request=request))


def _seed_of(request: Generate) -> int:
    return request.sampling.seed if request.sampling.seed is not None else random.getrandbits(62)
