"""The engine thread: owns all of MLX, takes commands from its inbox, and steps the batch while there is work.

It knows no sockets (frames leave through `send`) and no templates (prompts arrive as tokens).
"""

import queue
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import psutil

from lmx_daemon.contract.errors import (
    ContextLengthError,
    DeadlineError,
    LmxError,
    OutOfMemoryError,
    RequestError,
    UnsupportedError,
    WorkerError,
)
from lmx_daemon.contract.frames import (
    EngineOptions,
    Events,
    Grant,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Log,
    Memory,
    MemoryUse,
)
from lmx_daemon.contract.generation import Event, Failed, Generate, Prefill, Queued, Started
from lmx_daemon.engine import platform, sampling
from lmx_daemon.engine.answer import Answer
from lmx_daemon.engine.batch import Batch, Broken, Row, Token, warm_up
from lmx_daemon.engine.choose import Wish
from lmx_daemon.engine.line import Line
from lmx_daemon.engine.link import Pulse
from lmx_daemon.engine.load import LoadedModel, load
from lmx_daemon.engine.parse import Markers
from lmx_daemon.engine.probe import measure_cache
from lmx_daemon.engine.prompt import Prepared, markers_of
from lmx_daemon.engine.reuse import Reuse, reuse_for

MEMORY_SECONDS = 1.0
FLUSH_SECONDS = 1.5
"""What the prefix cache may take to reach the disk before the process ends."""
BAD_STEPS = 5
"""So many failed steps in a row, each with a fresh batch, and the process is no use any more."""
MOST_STRIKES = 3
"""A request that took part in so many failed steps is given up."""


@dataclass(frozen=True)
class Ready:
    """A request whose prompt is tokens now."""

    request: Generate
    prepared: Prepared
    arrived: float
    load_seconds: float


@dataclass(frozen=True)
class Drop:
    """The request with this id is wanted no more."""

    id: str


@dataclass(frozen=True)
class Stop:
    pass


@dataclass(frozen=True)
class Wake:
    """What a waiting request needs has come."""


Command = Load | Grant | Ready | Drop | Stop | Wake


class Runner:
    def __init__(
        self, send: Callable[[Any], None], pulse: Pulse, on_loaded: Callable[[LoadedModel, Load], None]
    ) -> None:
        self.inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._send = send
        self._pulse = pulse
        self._on_loaded = on_loaded
        self._options = EngineOptions()
        self._loaded: LoadedModel | None = None
        self._instance = ""
        self._batch: Batch | None = None
        self._markers = Markers()
        self._reuse = Reuse()
        self._line = Line()
        self._running: dict[str, Answer] = {}
        self._rows: dict[int, Answer] = {}
        self._memory_at = 0.0
        self._memory = MemoryUse()
        self._bad_steps = 0
        self._process = psutil.Process()

    def run(self) -> None:
        """Until Stop. Raises when the batch cannot be made to work any more."""
        while self._take_commands():
            if self._line or self._running:
                self._expire()
                self._admit()
            self._beat()
            if self._rows:
                self._step()
            self._report_memory()
        self._reuse.close(FLUSH_SECONDS)

    # ---- commands ----

    def _take_commands(self) -> bool:
        """False at Stop. Waits only where there is nothing to do."""
        idle = not self._rows and all(self._reuse.reads_for(answer.arrival) for answer in self._line)
        while True:
            try:
                command = self.inbox.get(timeout=MEMORY_SECONDS) if idle else self.inbox.get_nowait()
            except queue.Empty:
                return True
            idle = False
            match command:
                case Stop():
                    return False
                case Wake():
                    pass
                case Load():
                    self._load(command)
                case Grant(cache_bytes=granted):
                    self._line.grant(granted)
                    self._make_room()
                case Drop(id=identity):
                    self._drop(identity)
                case Ready():
                    self._receive(command)

    def _load(self, command: Load) -> None:
        def progress(stage: str, fraction: float | None) -> None:
            self._pulse.steps += 1
            self._send(LoadProgress(stage=stage, fraction=fraction))

        begun = time.monotonic()
        self._pulse.busy = True
        try:
            loaded = load(Path(command.path), command.options, progress, command.trusted)
            platform.bound_caches(loaded.weights)
            self._options, self._loaded, self._instance = command.options, loaded, command.instance
            self._markers = Markers(**markers_of(loaded.tokenizer))
            self._reuse = reuse_for(
                loaded, Path(command.path), command.options, self._log, lambda: self.inbox.put(Wake())
            )
            cache = measure_cache(loaded.model)
            self._line = Line(cache, command.options.cache_bytes, loaded.capabilities.context_length)
            self._bound_prefixes()
            progress("warming up", None)
            self._batch = self._new_batch()
            warm_up(self._batch)
            self._on_loaded(loaded, command)
        except LmxError as error:
            self._send(LoadFailed(error=error.body()))
            return
        finally:
            self._pulse.busy = False
        self._measure()
        self._send(
            Loaded(
                capabilities=loaded.capabilities,
                memory=self._memory,
                seconds=time.monotonic() - begun,
                dtype=loaded.dtype,
                note=loaded.note,
                cache=cache,
            )
        )

    def _new_batch(self) -> Batch:
        assert self._loaded is not None
        return Batch(
            self._loaded.model,
            set(self._loaded.tokenizer.eos_token_ids),
            prefill_step=self._options.prefill_step,
        )

    def _receive(self, ready: Ready) -> None:
        request = ready.request
        if request.id in self._pulse.dropped:  # cancelled while its prompt was being prepared
            ended = Answer(request, ready.prepared, ready.arrived, ready.load_seconds, 0).finished(cancelled=True)
            self._end(request.id, ended)
            return
        answer = Answer(request, ready.prepared, ready.arrived, ready.load_seconds, _seed_of(request))
        try:
            assert self._loaded is not None
            self._line.check(answer)
            sampling.check(request, self._loaded.vocabulary)
            if request.constraint is not None:
                raise UnsupportedError("constrained answers are not supported yet", param="response_format")
            if request.choices > self._options.max_running:
                raise RequestError(f"n is at most {self._options.max_running} here", param="n")
        except LmxError as error:
            self._end(request.id, Failed(id=request.id, error=error.body()))
            return
        answer.arrival = self._reuse.arrive(request.cache_namespace, ready.prepared.tokens, ready.prepared.opening)
        self._line.add(answer)
        self._admit()
        self._tell_positions()

    def _drop(self, identity: str) -> None:
        answer = self._running.get(identity) or self._line.find(identity)
        if answer is not None:
            if self._batch is not None and answer.rows:
                self._reuse.save(next(iter(answer.rows)), answer.arrival, self._batch)
            self._remove(answer)
            self._end(identity, answer.finished(cancelled=True))
            self._tell_positions()

    # ---- the batch ----

    def _admit(self) -> None:
        """Takes waiting requests into the batch, in order, while there is room."""
        assert self._batch is not None
        admitted = False
        while answer := self._line.next(
            self._running.values(), self._options.max_running - self._batch.rows, self._may_start
        ):
            admitted = True
            try:  # room may have been taken away since it came
                self._line.check(answer)
            except ContextLengthError as error:
                self._end(answer.request.id, Failed(id=answer.request.id, error=error.body()))
                continue
            if answer.paused:
                self._resume(answer)
            else:
                self._start(answer)
        if admitted:
            self._tell_positions()

    def _may_start(self, answer: Answer) -> bool:
        assert self._batch is not None
        return answer.paused or self._reuse.may_start(answer.arrival, self._batch)

    def _make_room(self) -> None:
        """Stored prefixes give way to what runs, and the youngest answer to the older ones: it waits, and goes on."""
        if self._loaded is None:
            return
        while youngest := self._line.outgrown(self._running.values()):
            self._log("warning", "set aside: together the answers outgrew their memory", youngest.request.id)
            self._set_aside(youngest)
            self._tell_positions()
        self._bound_prefixes()

    def _bound_prefixes(self) -> None:
        self._reuse.resize(self._line.for_prefixes(self._options.prefix_cache_bytes))

    def _set_aside(self, answer: Answer) -> None:
        """Out of the batch, and first in line to go on."""
        self._remove(answer)
        self._line.put_back(answer)

    def _resume(self, answer: Answer) -> None:
        """Its choices go on after what they have said; that is computed again."""
        assert self._batch is not None
        reservation = self._line.begin(answer)
        for choice in answer.go_on():
            tokens = [*answer.prepared.tokens, *choice.said]
            row = Row(max(1, reservation.most - len(choice.said)), self._wish(answer, choice.index), len(choice.said))
            hit = self._reuse.find(answer.request.cache_namespace, tokens)
            (identity,) = self._batch.add(tokens, [row], hit.cache if hit else None, hit.length if hit else 0)
            answer.rows[identity] = choice
            self._rows[identity] = answer
        self._running[answer.request.id] = answer

    def _wish(self, answer: Answer, index: int) -> Wish:
        assert self._loaded is not None
        resolved = sampling.resolve(answer.request.sampling, self._loaded.defaults)
        return Wish(resolved, answer.seed, index, answer.request.top_logprobs)

    def _start(self, answer: Answer) -> None:
        assert self._batch is not None and self._loaded is not None
        request, tokens = answer.request, answer.prepared.tokens
        reservation = self._line.begin(answer)
        answer.start()
        found = self._reuse.start(answer.arrival)
        answer.cached = found.cached
        rows = [Row(reservation.most, self._wish(answer, index)) for index in range(request.choices)]
        ids = self._batch.add(tokens, rows, found.cache, answer.cached, found.checkpoints)
        self._reuse.lead(ids[0], answer.arrival, found)
        for index, identity in enumerate(ids):
            answer.add(identity, index, self._loaded.tokenizer, self._markers)
            self._rows[identity] = answer
        self._running[request.id] = answer
        self._bound_prefixes()
        self._send_events(
            Started(
                id=request.id,
                prompt_tokens=len(tokens),
                cached_tokens=answer.cached,
                seed=answer.seed,
                instance=self._instance,
                context_length=self._loaded.capabilities.context_length,
                first_difference=found.first_difference,
                miss=found.miss,
            )
        )

    def _step(self) -> None:
        assert self._batch is not None
        try:
            step = self._batch.step()
        except Exception as error:  # whatever a model's arithmetic raises costs its batch, not the worker
            self._fail_batch(error)
            return
        self._bad_steps = 0
        self._pulse.steps += 1
        self._pulse.decode_tokens += len(step.tokens)
        events: list[Event] = []
        for prompt in step.prompts:
            answer = self._rows.get(prompt.row)
            if answer is None:
                continue
            done = answer.cached + prompt.done
            self._reuse.advance(prompt.row, done, prompt.cache)
            if prompt.total > self._options.prefill_step:
                events.append(Prefill(id=answer.request.id, done=done, total=answer.cached + prompt.total))
        for token in step.tokens:
            self._reuse.past(token.row)
            answer = self._rows.get(token.row)
            if answer is not None:
                events += self._take(answer, token)
        for broken in step.broken:
            events += self._break(broken)
        self._pulse.prefill_tokens = self._batch.prefill_tokens
        if events:
            self._send(Events(events=tuple(events)))

    def _break(self, broken: Broken) -> list[Event]:
        """Fails the request whose own prompt could not be computed; the batch goes on."""
        traceback.print_exception(broken.error)
        found = [answer for row in broken.rows if (answer := self._rows.get(row)) is not None]
        failure = failure_of(broken.error)
        for answer in found[:1]:
            self._log("error", failure.message, answer.request.id)
            self._remove(answer)
            return [self._closed(Failed(id=answer.request.id, error=failure.body()))]
        return []

    def _take(self, answer: Answer, token: Token) -> list[Event]:
        assert self._batch is not None and self._loaded is not None
        request = answer.request
        try:
            events = answer.take(token, self._loaded.tokenizer)
        except Exception as error:  # text that cannot be read costs its own request
            self._log("error", f"{type(error).__name__}: {error}", request.id)
            self._remove(answer)
            failed = WorkerError(f"the answer could not be read: {type(error).__name__}: {error}")
            return [self._closed(Failed(id=request.id, error=failed.body()))]
        answer.suspect = False
        for warning in answer.warnings:
            self._log("warning", warning, request.id)
        answer.warnings.clear()
        if answer.rows[token.row].ending is not None:
            self._reuse.end(token.row)
            if token.cache is not None and token.tokens is not None:
                self._reuse.keep(request.cache_namespace, token.tokens, token.cache)
            else:  # it ended at a stop string
                self._reuse.save(token.row, answer.arrival, self._batch)
                self._batch.remove([token.row])
            del self._rows[token.row]
        if answer.done:
            self._running.pop(request.id, None)
            events.append(self._closed(answer.finished()))
        return events

    def _fail_batch(self, error: Exception) -> None:
        """Begins a fresh batch. What was in the old one goes on in it, one by one at first: whoever fails alone, or has
        failed too often, was it. Raises where nothing works any more."""
        traceback.print_exception(error)
        failure = failure_of(error)
        self._log("error", failure.message)
        self._bad_steps += 1
        took_part = list(self._running.values())
        self._reuse.fail()
        if self._bad_steps >= BAD_STEPS:
            self._send_events(*(self._closed(Failed(id=a.request.id, error=failure.body())) for a in took_part))
            raise error
        self._batch = self._new_batch()
        self._rows.clear()
        for answer in reversed(took_part):
            answer.strikes += 1
            if len(took_part) == 1 or answer.strikes >= MOST_STRIKES:
                self._running.pop(answer.request.id)
                self._end(answer.request.id, Failed(id=answer.request.id, error=failure.body()))
            else:
                answer.suspect = True
                self._set_aside(answer)

    def _expire(self) -> None:
        now = time.monotonic()
        for answer in [*self._line, *self._running.values()]:
            if answer.deadline is not None and now > answer.deadline:
                self._remove(answer)
                error = DeadlineError(f"the request took longer than its deadline of {answer.request.deadline:g} s")
                self._end(answer.request.id, Failed(id=answer.request.id, error=error.body()))

    def _remove(self, answer: Answer) -> None:
        self._line.remove(answer)
        self._running.pop(answer.request.id, None)
        rows = [row for row in answer.rows if self._rows.pop(row, None) is not None]
        for row in rows:
            self._reuse.end(row)
        if rows and self._batch is not None:
            self._batch.remove(rows)

    # ---- what is told ----

    def _tell_positions(self) -> None:
        order = enumerate(self._line.order(self._running.values()), 1)
        self._send_events(*(Queued(id=answer.request.id, position=place) for place, answer in order))

    def _end(self, identity: str, event: Event) -> None:
        self._send_events(self._closed(event))

    def _closed(self, event: Event) -> Event:
        self._pulse.closed(event.id)
        self._line.close(event.id)
        return event

    def _send_events(self, *events: Event) -> None:
        if events:
            self._send(Events(events=events))

    def _log(self, level: str, message: str, request: str | None = None) -> None:
        self._send(Log(level=level, message=message, request=request))

    def _beat(self) -> None:
        self._pulse.running = len(self._running)
        self._pulse.waiting = len(self._line)
        self._pulse.busy = bool(self._running or self._line)

    def _report_memory(self) -> None:
        if self._loaded is not None and time.monotonic() - self._memory_at >= MEMORY_SECONDS:
            before = self._memory
            self._make_room()
            self._measure()
            if self._memory != before:
                self._send(Memory(use=self._memory))

    def _measure(self) -> None:
        self._memory_at = time.monotonic()
        self._memory = MemoryUse(
            active=mx.get_active_memory(),
            cache=mx.get_cache_memory(),
            peak=mx.get_peak_memory(),
            weights=self._loaded.weights if self._loaded else 0,
            prefix_cache=self._reuse.size,
            resident=self._process.memory_info().rss,
        )


def _seed_of(request: Generate) -> int:
    return request.sampling.seed if request.sampling.seed is not None else random.getrandbits(62)


def failure_of(error: Exception) -> LmxError:
    """What the arithmetic raised, as the request's error."""
    if isinstance(error, MemoryError) or "malloc" in str(error):
        return OutOfMemoryError(f"the model ran out of memory: {error}", hint="ask for less at once")
    return WorkerError(f"a step of the model failed: {type(error).__name__}: {error}", hint="see the log")
