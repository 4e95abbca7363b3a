"""The scheduler of a loaded model: it starts requests, runs steps, and turns their results into events.

Which request starts next is queue.py's decision. Events leave through `send`. Engine thread only.
"""

import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import ContextLengthError, LmxError, RequestError, WorkerError
from lmx_daemon.contract.events import Event, Failed, Prefill, Queued
from lmx_daemon.contract.requests import Generate
from lmx_daemon.contract.worker.messages import Events, Log, TextOptions
from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.scoring import Scoring, scratch_bytes
from lmx_daemon.engines.mlx.batch.step import FailedRows, PromptRead, RowScores, Token
from lmx_daemon.engines.mlx.batch.warm_up import warm_up, works
from lmx_daemon.engines.mlx.commands import Ready
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.sampling import parameters
from lmx_daemon.engines.mlx.schedule import unsupported
from lmx_daemon.engines.mlx.schedule.faults import Faults, failure_of, requests_to_fail
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.engines.mlx.text.choice import Choice, choice_of
from lmx_daemon.engines.mlx.text.families.choose import family_of
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
        self._abilities = abilities
        self._instance = instance
        self._options = options
        self._queue = queue
        self._prefixes = prefixes
        self._counters = counters
        self._send = send
        self._faults = Faults()
        self._family = family_of(loaded.tokenizer)
        self._bound_prefixes()
        self._batch = self._new_batch()
        warm_up(self._batch, on_progress)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before the next command arrives."""
        queue = self._queue
        return not queue.running and all(self._prefixes.is_reading(request.lookup) for request in queue.waiting)

    @property
    def waits(self) -> bool:
        """Whether requests are queued."""
        return bool(self._queue)

    def turn(self) -> None:
        """Fail overdue requests, start those that may start, and run one step. Raise if no step works any more."""
        self._expire()
        if self._queue.waiting:
            self._admit()
        self._count()
        if self._queue.running:
            self._step()
            self._count()
        self._prefixes.publish()

    def _count(self) -> None:
        """Update the heartbeat's counters: before a step, which may hang, and after it, since the next may be far."""
        queue, counters = self._queue, self._counters
        counters.running, counters.waiting = len(queue.running), len(queue.waiting)
        counters.busy = bool(queue.running or queue.waiting)

    # ---- commands ----

    def receive(self, ready: Ready) -> None:
        """Queue a request whose prompt is tokenized, or fail it if this worker cannot serve it."""
        generate = ready.request
        seed = _seed_of(generate)
        request = EngineRequest(generate, ready.prepared, ready.arrived, ready.load_seconds, seed, ready.grammar)
        if generate.prompt_logprobs is not None:
            request.scratch = scratch_bytes(len(ready.prepared.tokens), self._loaded.vocabulary)
        try:
            self._check(request)
        except LmxError as error:
            self._fail(request, error)
            return
        if request.reuses:
            tokens, opening = ready.prepared.tokens, ready.prepared.opening
            request.lookup = self._prefixes.look_up(generate.cache_namespace, tokens, opening)
        self._queue.waiting.append(request)
        self._expire()
        self._admit()
        self._emit_positions()

    def drop(self, identity: str) -> None:
        """End a request that was cancelled. Idempotent."""
        request = self._queue.find(identity)
        if request is not None:
            if request in self._queue.running:  # the client may send it again
                self._prefixes.store_running(request.choices[0], request.lookup, self._batch)
            self._remove(request)
            self._emit(self._closed(request, request.finished(cancelled=True)))
            self._emit_positions()

    def grant(self, cache_bytes: int) -> None:
        """Set the bytes for KV caches and stored prefixes, and keep to them from now on."""
        self._queue.grant(cache_bytes)
        self.make_room()

    def make_room(self) -> None:
        """Preempt the youngest requests while all together hold too much memory, and shrink the stored prefixes."""
        while youngest := self._queue.overflowing():
            self._log("warning", "preempted: the running requests together need more memory", youngest.id)
            self._leave(youngest.choices)
            self._queue.preempt(youngest)
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

    def _expire(self) -> None:
        """Fail overdue requests."""
        now = time.monotonic()
        for request in (*self._queue.waiting, *self._queue.running):
            if (error := request.deadline_error(now)) is not None:
                self._fail(request, error)

    def _admit(self) -> None:
        """Move waiting requests into the batch in their order while there is room."""
        admitted = False
        while request := self._queue.next(self._options.max_running - self._batch.rows, self._may_start):
            admitted = True
            try:  # memory may have been taken away since it was queued
                self._queue.check(request)
            except ContextLengthError as error:
                self._fail(request, error)
                continue
            max_tokens = self._queue.begin(request)
            if request.preempted:
                self._resume(request, max_tokens)
            else:
                self._start(request, max_tokens)
        if admitted:
            self._emit_positions()

    def _may_start(self, request: EngineRequest) -> bool:
        """Return False while a request waits for a prefix that the disk or another row will provide."""
        return request.preempted or self._prefixes.may_start(request.lookup, self._batch)

    def _start(self, request: EngineRequest, max_tokens: int) -> None:
        """Add the choices of a request to the batch, after the stored prefix of its prompt."""
        found = self._prefixes.start(request.lookup)
        loaded = self._loaded
        params = parameters.resolve(request.generate.sampling, loaded.defaults)
        choices = request.start(max_tokens, params, loaded.tokenizer, self._family)
        if request.generate.prompt_logprobs is not None:
            choices[0].scoring = Scoring(1, loaded.vocabulary, request.generate.prompt_logprobs)
        self._batch.add(request.prepared.tokens, choices, found.cache, found.cached, found.checkpoints)
        self._prefixes.register(choices[0], request.lookup, found)
        self._bound_prefixes()
        started = request.started(found, self._instance, loaded.capabilities.context_length)
        self._emit(started, *self._events_of(request, lambda: request.opening(loaded.tokenizer)))

    def _resume(self, request: EngineRequest, max_tokens: int) -> None:
        """Add the choices of a preempted request to the batch. They continue after the tokens that they have."""
        prompt = request.prepared.tokens
        for choice in request.resume(max_tokens):
            tokens = [*prompt, *choice.generated]
            hit = self._prefixes.find(request.generate.cache_namespace, tokens) if request.reuses else None
            self._batch.add(prompt, [choice], hit.cache if hit else None, hit.length if hit else 0)

    # ---- run and emit ----

    def _step(self) -> None:
        try:
            result = self._batch.step()
        except Exception as error:  # the model's code may raise anything; that costs the batch, not the worker
            self._recover(error)
            return
        self._faults.step_succeeded()
        self._counters.steps += 1
        self._counters.decode_tokens += len(result.tokens)
        events: list[Event] = []
        for prompt in result.prompts:
            self._prefixes.advance(prompt.row, prompt.done, prompt.cache)
            request = choice_of(prompt.row).request
            if prompt.total - request.cached > self._options.prefill_step:
                events.append(Prefill(id=request.id, done=prompt.done, total=prompt.total))
        for scored in result.scores:
            events += self._report(scored)
        for token in result.tokens:
            events += self._consume(token)
        for read in result.read:
            events += self._prompt_read(read)
        for failed in result.failed:
            events += self._fail_rows(failed)
        self._counters.prefill_tokens = self._batch.prefill_tokens
        self._emit(*events)

    def _events_of(self, request: EngineRequest, read: Callable[[], list[Event]]) -> list[Event]:
        """Return the events that `read` makes. An exception, such as a detokenizer's panic, costs its request only."""
        try:
            return read()
        except BaseException as error:
            self._log("error", f"{type(error).__name__}: {error}", request.id)
            self._remove(request)
            failed = error if isinstance(error, LmxError) else None
            failed = failed or WorkerError(f"the answer could not be read: {type(error).__name__}: {error}")
            return [self._closed(request, Failed(id=request.id, error=failed.body()))]

    def _report(self, scored: RowScores) -> list[Event]:
        """Return the events of log-probabilities of a prompt."""
        request = choice_of(scored.row).request
        return self._events_of(request, lambda: request.prompt_scored(scored.scores, self._loaded.tokenizer))

    def _consume(self, token: Token) -> list[Event]:
        """Return the events of one token."""
        choice = choice_of(token.row)
        request = choice.request
        if request.ended:  # by another token of this step
            return []
        events = self._events_of(request, lambda: request.consume(token, self._loaded.tokenizer))
        if request.ended:
            return events
        request.quarantined = False
        if len(choice.generated) == 1:
            self._prefixes.prompt_done(choice)
        for warning in request.warnings:
            self._log("warning", warning, request.id)
        request.warnings.clear()
        if choice.ending is not None:
            self._end(choice, token)
        if request.done:
            self._queue.remove(request)
            events.append(self._closed(request, request.finished()))
        return events

    def _prompt_read(self, read: PromptRead) -> list[Event]:
        """Return the last event of a request that generates nothing, and store its prompt."""
        choice = choice_of(read.rows[0])
        request = choice.request
        if request.ended:  # its log-probabilities could not be read
            return []
        self._prefixes.release(choice)
        self._prefixes.store(request.generate.cache_namespace, choice.held, read.cache)
        request.prompt_read()
        self._queue.remove(request)
        return [self._closed(request, request.finished())]

    def _end(self, choice: Choice, token: Token) -> None:
        """Store what a choice has computed that ended with `token`."""
        self._prefixes.release(choice)
        if token.cache is not None:
            self._prefixes.store(choice.request.generate.cache_namespace, choice.held, token.cache)
        else:  # a stop string ended it, which the batch cannot detect
            self._prefixes.store_running(choice, choice.request.lookup, self._batch)
            self._batch.remove([choice])

    # ---- failures ----

    def _fail_rows(self, failed: FailedRows) -> list[Event]:
        """Fail the request whose own prompt could not be computed. The other rows of the batch go on."""
        traceback.print_exception(failed.error)
        failure = failure_of(failed.error)
        request = choice_of(failed.rows[0]).request
        self._log("error", failure.message, request.id)
        self._remove(request)
        return [self._closed(request, Failed(id=request.id, error=failure.body()))]

    def _recover(self, error: Exception) -> None:
        """Replace the batch after a step that raised, and requeue its requests, which run one by one at first.

        Raise `error` if no step works any more.
        """
        traceback.print_exception(error)
        failure = failure_of(error)
        self._log("error", failure.message)
        self._prefixes.distrust()
        if not self._faults.step_failed() and not self._still_works():
            for request in list(self._queue.running):
                self._fail(request, failure)
            raise error
        self._batch = self._new_batch()
        took_part = list(self._queue.running)
        failed = requests_to_fail(took_part)
        for request in reversed(took_part):
            if request in failed:
                self._fail(request, failure)
            else:
                self._queue.preempt(request)

    def _still_works(self) -> bool:
        """Return whether the failed steps are the fault of their requests and not of the process."""
        if not works(self._new_batch()):
            return False
        self._faults.step_succeeded()
        return True

    def _fail(self, request: EngineRequest, error: LmxError) -> None:
        self._remove(request)
        self._emit(self._closed(request, Failed(id=request.id, error=error.body())))

    def _remove(self, request: EngineRequest) -> None:
        """Remove a request, wherever it is. Idempotent."""
        self._queue.remove(request)
        self._leave(request.choices)

    def _leave(self, choices: list[Choice]) -> None:
        """Remove choices from the batch; those that are not in it are ignored."""
        for choice in choices:
            self._prefixes.release(choice)
        self._batch.remove(choices)

    def _new_batch(self) -> Batch:
        stops = set(self._loaded.tokenizer.eos_token_ids)
        return Batch(self._loaded.model, stops, prefill_step=self._options.prefill_step, abilities=self._abilities)

    def _bound_prefixes(self) -> None:
        self._prefixes.resize(self._queue.for_prefixes(self._options.prefix_cache_bytes))

    # ---- events ----

    def _emit_positions(self) -> None:
        self._emit(*(Queued(id=each.id, position=place) for place, each in enumerate(self._queue.order(), 1)))

    def _closed(self, request: EngineRequest, event: Event) -> Event:
        """Let the id of an ended request be used again, and return `event`, its last."""
        request.close()
        self._counters.submissions.closed(event.id)
        return event

    def _emit(self, *events: Event) -> None:
        if events:
            self._send(Events(events=events))

    def _log(self, level: str, message: str, request: str | None = None) -> None:
        self._send(Log(level=level, message=message, request=request))


def _seed_of(request: Generate) -> int:
    return request.sampling.seed if request.sampling.seed is not None else random.getrandbits(62)
