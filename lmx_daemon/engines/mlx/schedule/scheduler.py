"""The requests of a loaded model, from their tokens to their last event: who begins, what each step brings, what fails.

Who waits is line.py's, who is in the batch seats.py's; events leave through `send`. Engine thread only.
"""

import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.errors import ContextLengthError, LmxError, RequestError, UnsupportedError, WorkerError
from lmx_daemon.contract.frames import Events, Log, TextOptions
from lmx_daemon.contract.generation import Event, Failed, Generate, Prefill, Queued, Started
from lmx_daemon.engines.mlx.batch.step import FailedRows, Token
from lmx_daemon.engines.mlx.commands import Ready
from lmx_daemon.engines.mlx.load.model import LoadedModel
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.sampling import parameters as sampling
from lmx_daemon.engines.mlx.schedule.faults import Faults, failure_of, requests_to_fail
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.schedule.slots import BatchSlots
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.worker.heartbeat import HeartbeatCounters


class Scheduler:
    def __init__(
        self,
        loaded: LoadedModel,
        abilities: ModelAbilities,
        instance: str,
        options: TextOptions,
        line: RequestQueue,
        reuse: PrefixSharing,
        *,
        counters: HeartbeatCounters,
        send: Callable[[Any], None],
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Warms the model up, which tells its progress."""
        self._loaded = loaded
        self._instance = instance
        self._options = options
        self._queue = line
        self._reuse = reuse
        self._counters = counters
        self._send = send
        self._faults = Faults()
        self._bound_prefixes()
        self._slots = BatchSlots(loaded, abilities, options, reuse, on_progress)

    @property
    def idle(self) -> bool:
        """Nothing can be done before the next command comes."""
        return not self._slots.answers and all(self._reuse.reads_for(answer.arrival) for answer in self._queue)

    def turn(self) -> None:
        """Ends what is overdue, lets those begin that may, and makes one step. Raises when none works any more."""
        if self._queue or self._slots.answers:
            self._admit()
        self._count()
        if self._slots.answers:
            self._step()
            self._count()
        self._reuse.settle()

    def _count(self) -> None:
        """For the heartbeat: before a step, which may hang, and after it, since no other may come for a while."""
        self._counters.running, self._counters.waiting = len(self._slots.answers), len(self._queue)
        self._counters.busy = bool(self._slots.answers or self._queue)

    # ---- what is asked ----

    def receive(self, ready: Ready) -> None:
        request = ready.request
        answer = EngineRequest(request, ready.prepared, ready.arrived, ready.load_seconds, _seed_of(request))
        try:
            self._check(answer)
        except LmxError as error:
            self._end(Failed(id=request.id, error=error.body()))
            return
        answer.arrival = self._reuse.arrive(request.cache_namespace, ready.prepared.tokens, ready.prepared.opening)
        self._queue.add(answer)
        self._admit()
        self._emit_positions()

    def drop(self, identity: str) -> None:
        """Idempotent."""
        answer = self._slots.find(identity) or self._queue.find(identity)
        if answer is not None:
            self._slots.save(answer)
            self._remove(answer)
            self._end(answer.finished(cancelled=True))
            self._emit_positions()

    def grant(self, cache_bytes: int) -> None:
        self._queue.grant(cache_bytes)
        self.make_room()

    def make_room(self) -> None:
        """Stored prefixes give way to what runs, and the youngest answer to the older ones: it waits, and goes on."""
        while youngest := self._queue.outgrown(self._slots.answers):
            self._log("warning", "set aside: together the answers outgrew their memory", youngest.request.id)
            self._remove(youngest)
            self._queue.requeue(youngest)
            self._emit_positions()
        self._bound_prefixes()

    def _check(self, answer: EngineRequest) -> None:
        """Raises what this model or this worker cannot do."""
        request = answer.request
        self._queue.check(answer)
        sampling.check(request, self._loaded.vocabulary)
        if request.constraint is not None:
            raise UnsupportedError("constrained answers are not supported yet", param="response_format")
        if request.choices > self._options.max_running:
            raise RequestError(f"n is at most {self._options.max_running} here", param="n")

    # ---- who begins ----

    def _admit(self) -> None:
        """Takes waiting requests into the batch, in order, while there is room; none that is overdue."""
        self._expire()
        admitted = False
        while answer := self._queue.next(self._slots.answers, self._slots.free, self._slots.may_start):
            admitted = True
            try:  # room may have been taken away since it came
                self._queue.check(answer)
            except ContextLengthError as error:
                self._end(Failed(id=answer.request.id, error=error.body()))
                continue
            most = self._queue.begin(answer).most
            if answer.preempted:
                self._slots.resume(answer, most)
            else:
                self._start(answer, most)
        if admitted:
            self._emit_positions()

    def _start(self, answer: EngineRequest, most: int) -> None:
        found = self._slots.start(answer, most)
        self._bound_prefixes()
        self._emit(
            Started(
                id=answer.request.id,
                prompt_tokens=len(answer.prepared.tokens),
                cached_tokens=answer.cached,
                seed=answer.seed,
                instance=self._instance,
                context_length=self._loaded.capabilities.context_length,
                first_difference=found.first_difference,
                miss=found.miss,
            )
        )

    def _expire(self) -> None:
        now = time.monotonic()
        for answer in [*self._queue, *self._slots.answers]:
            if (error := answer.deadline_error(now)) is not None:
                self._remove(answer)
                self._end(Failed(id=answer.request.id, error=error.body()))

    # ---- what a step brings ----

    def _step(self) -> None:
        try:
            step = self._slots.step()
        except Exception as error:  # whatever a model's arithmetic raises costs its batch, not the worker
            self._start_over(error)
            return
        self._faults.step_succeeded()
        self._counters.steps += 1
        self._counters.decode_tokens += len(step.tokens)
        events: list[Event] = []
        for prompt in step.prompts:
            answer = self._slots.of(prompt.row)
            if answer is not None and prompt.total - answer.cached > self._options.prefill_step:
                events.append(Prefill(id=answer.request.id, done=prompt.done, total=prompt.total))
        for token in step.tokens:
            if (answer := self._slots.of(token.row)) is not None:
                events += self._consume(answer, token)
        for failed in step.failed:
            events += self._break(failed)
        self._counters.prefill_tokens = self._slots.prefill_tokens
        self._emit(*events)

    def _consume(self, answer: EngineRequest, token: Token) -> list[Event]:
        request = answer.request
        try:
            events = answer.consume(token, self._loaded.tokenizer)
        except BaseException as error:  # a detokenizer's panic, too, costs its own request only
            self._log("error", f"{type(error).__name__}: {error}", request.id)
            self._remove(answer)
            failed = WorkerError(f"the answer could not be read: {type(error).__name__}: {error}")
            return [self._closed(Failed(id=request.id, error=failed.body()))]
        answer.quarantined = False
        for warning in answer.warnings:
            self._log("warning", warning, request.id)
        answer.warnings.clear()
        if answer.rows[token.row].ending is not None:
            self._slots.end_row(answer, token)
        if answer.done:
            events.append(self._closed(answer.finished()))
        return events

    def _break(self, broken: FailedRows) -> list[Event]:
        """Fails the request whose own prompt could not be computed; the batch goes on."""
        traceback.print_exception(broken.error)
        failure = failure_of(broken.error)
        answer = next((found for row in broken.rows if (found := self._slots.of(row)) is not None), None)
        if answer is None:
            return []
        self._log("error", failure.message, answer.request.id)
        self._remove(answer)
        return [self._closed(Failed(id=answer.request.id, error=failure.body()))]

    def _start_over(self, error: Exception) -> None:
        """After a step that raised: those that took part go on in a fresh batch, one by one at first. Raises where
        nothing works any more."""
        traceback.print_exception(error)
        failure = failure_of(error)
        self._log("error", failure.message)
        self._reuse.fail()
        if not self._faults.step_failed() and not self._recovers():
            self._emit(*(self._closed(Failed(id=a.request.id, error=failure.body())) for a in self._slots.answers))
            raise error
        took_part = self._slots.renew()
        failed = requests_to_fail(took_part)
        for answer in reversed(took_part):
            if answer in failed:
                self._end(Failed(id=answer.request.id, error=failure.body()))
            else:
                self._queue.requeue(answer)

    def _recovers(self) -> bool:
        """Whether so many failed steps are their requests' fault, and not the process's."""
        works = self._slots.works()
        if works:
            self._faults.step_succeeded()
        return works

    def _remove(self, answer: EngineRequest) -> None:
        self._queue.remove(answer)
        self._slots.remove(answer)

    def _bound_prefixes(self) -> None:
        self._reuse.resize(self._queue.for_prefixes(self._options.prefix_cache_bytes))

    # ---- what is told ----

    def _emit_positions(self) -> None:
        order = enumerate(self._queue.order(self._slots.answers), 1)
        self._emit(*(Queued(id=answer.request.id, position=place) for place, answer in order))

    def _end(self, event: Event) -> None:
        self._emit(self._closed(event))

    def _closed(self, event: Event) -> Event:
        """A terminal event: what was kept for its request is free."""
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
