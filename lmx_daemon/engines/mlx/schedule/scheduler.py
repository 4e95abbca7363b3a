"""The scheduler of a loaded model: it starts requests, runs steps, and recovers from failed ones.

Which request starts next is queue.py's decision. running.py has the batch, results.py makes events of a step, and
reports.py sends them. Engine thread only.
"""

import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import ContextLengthError, LmxError, RequestError
from lmx_daemon.contract.generation.events import Failed
from lmx_daemon.contract.generation.requests import Decide, Generate
from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.batch.prefill import FOLDED
from lmx_daemon.engines.mlx.batch.scoring import scratch_bytes
from lmx_daemon.engines.mlx.batch.warm_up import warm_up
from lmx_daemon.engines.mlx.commands import Ready
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.sampling import parameters
from lmx_daemon.engines.mlx.schedule.faults import Faults, failure_of, requests_to_fail
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.schedule.reports import Reports
from lmx_daemon.engines.mlx.schedule.results import StepResults
from lmx_daemon.engines.mlx.schedule.running import RunningRequests
from lmx_daemon.engines.mlx.text.answer import AnswerRecord
from lmx_daemon.engines.mlx.text.decision import DecisionRecord
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest
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
        self._faults = Faults()
        self._reports = Reports(send, queue, counters)
        self._running = RunningRequests(loaded, abilities, options, queue, prefixes)
        step = options.prefill_step
        self._results = StepResults(loaded.tokenizer, step, queue, self._running, prefixes, self._reports)
        warm_up(self._running.batch, on_progress)

    @property
    def idle(self) -> bool:
        """Return whether there is nothing to do before the next command arrives."""
        queue = self._queue
        return not queue.running and all(self._prefixes.is_reading(request.lookup) for request in queue.waiting)

    @property
    def waits(self) -> bool:
        """Return whether requests are queued."""
        return bool(self._queue)

    def turn(self) -> None:
        """Fail overdue requests, start those that may start, and run one step. Raise if no step works any more."""
        self._expire()
        if self._queue.waiting:
            self._admit()
        self._reports.count()
        if self._queue.running:
            self._step()
            self._reports.count()
        self._prefixes.publish()

    # ---- commands ----

    def receive(self, ready: Ready) -> None:
        """Queue a request whose prompt is tokenized, or fail it if this worker cannot serve it."""
        request = self._record(ready)
        try:
            self._check(request)
        except LmxError as error:
            self._fail(request, error)
            return
        if request.reuses:
            tokens, opening = ready.prepared.tokens, ready.prepared.opening
            request.lookup = self._prefixes.look_up(request.computation.cache_namespace, tokens, opening)
        self._queue.waiting.append(request)
        self._expire()
        self._admit()
        self._reports.emit_positions()

    def _record(self, ready: Ready) -> EngineRequest:
        """Return the record of a request whose prompt is tokenized."""
        prepared, vocabulary = ready.prepared, self._loaded.vocabulary
        match ready.request:
            case Generate() as generate:
                seed = _seed_of(generate)
                answer = AnswerRecord(generate, prepared, ready.arrived, ready.load_seconds, seed, ready.grammar)
                if generate.prompt_logprobs is not None:
                    answer.scratch = scratch_bytes(len(prepared.tokens), vocabulary)
                return answer
            case Decide() as decide:
                decision = DecisionRecord(decide, prepared, ready.arrived, ready.load_seconds, vocabulary)
                decision.scratch = scratch_bytes(FOLDED, vocabulary)
                return decision

    def drop(self, identity: str) -> None:
        """End a request that was cancelled. Idempotent."""
        request = self._queue.find(identity)
        if request is not None:
            self._running.cancel(request)
            self._reports.emit(self._reports.closed(request, request.finished(cancelled=True)))
            self._reports.emit_positions()

    def grant(self, cache_bytes: int) -> None:
        """Set the bytes for KV caches and stored prefixes, and keep to them from now on."""
        self._queue.grant(cache_bytes)
        self.make_room()

    def make_room(self) -> None:
        """Preempt the youngest requests while all together hold too much memory, and shrink the stored prefixes."""
        while youngest := self._queue.overflowing():
            self._reports.log("warning", "preempted: the running requests together need more memory", youngest.id)
            self._running.preempt(youngest)
            self._reports.emit_positions()
        self._running.bound_prefixes()

    def _check(self, request: EngineRequest) -> None:
        """Raise LmxError for a request that this model or this worker cannot serve."""
        self._queue.check(request)
        if not isinstance(request, AnswerRecord):
            return
        generate = request.generate
        parameters.check(generate, self._loaded.vocabulary)
        if generate.choices > self._options.max_running:
            raise RequestError(f"n is at most {self._options.max_running} here", param="n")

    # ---- schedule ----

    def _expire(self) -> None:
        """Fail overdue requests."""
        now = time.monotonic()
        for request in (*self._queue.waiting, *self._queue.running):
            if (error := request.deadline_error(now)) is not None:
                self._fail(request, error)

    def _admit(self) -> None:
        """Move waiting requests into the batch in their order while there is room."""
        admitted = False
        while request := self._queue.next(self._running.free_rows, self._running.may_start):
            admitted = True
            try:  # memory may have been taken away since it was queued
                self._queue.check(request)
            except ContextLengthError as error:
                self._fail(request, error)
                continue
            if request.preempted:
                self._running.resume(request)
            else:
                self._start(request)
        if admitted:
            self._reports.emit_positions()

    def _start(self, request: EngineRequest) -> None:
        found = self._running.start(request)
        started = request.started(found, self._instance, self._loaded.capabilities.context_length)
        opening = self._results.events_of(request, lambda: request.opening(self._loaded.tokenizer))
        self._reports.emit(started, *opening)

    # ---- a step ----

    def _step(self) -> None:
        try:
            result = self._running.batch.step()
        except Exception as error:  # the model's code may raise anything; that costs the batch, not the worker
            self._recover(error)
            return
        self._faults.step_succeeded()
        events = self._results.events(result)
        self._reports.count_step(len(result.tokens), self._running.batch.prefill_tokens)
        self._reports.emit(*events)

    def _recover(self, error: Exception) -> None:
        """Replace the batch after a step that raised, and requeue its requests, which run one by one at first.

        Raise `error` if no step works any more.
        """
        traceback.print_exception(error)
        failure = failure_of(error)
        self._reports.log("error", failure.message)
        self._prefixes.distrust()
        if not self._faults.step_failed() and not self._still_works():
            for request in list(self._queue.running):
                self._fail(request, failure)
            raise error
        self._running.renew()
        took_part = list(self._queue.running)
        failed = requests_to_fail(took_part)
        for request in reversed(took_part):
            if request in failed:
                self._fail(request, failure)
            else:
                self._queue.preempt(request)

    def _still_works(self) -> bool:
        """Return whether the failed steps are the fault of their requests and not of the process."""
        if not self._running.still_works():
            return False
        self._faults.step_succeeded()
        return True

    def _fail(self, request: EngineRequest, error: LmxError) -> None:
        self._running.remove(request)
        self._reports.emit(self._reports.closed(request, Failed(id=request.id, error=error.body())))


def _seed_of(request: Generate) -> int:
    return request.sampling.seed if request.sampling.seed is not None else random.getrandbits(62)
