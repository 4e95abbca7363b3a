"""The step: prompts in pieces, one token for every row, the next step computing while this one is read.

It knows token ids, caches and wishes; requests, text and sockets are the runner's. Engine thread only.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache, make_prompt_cache

from lmx_daemon.engine.choose import GREEDY, Chooser, Chosen, Logprobs, Tally, Wish
from lmx_daemon.engine.groups import ROOM, Group, can_merge, fork, forward, place, room_of
from lmx_daemon.engine.prefill import Pace, Prompt, pieces
from lmx_daemon.engine.ragged import can_join
from lmx_daemon.engine.sampling import Resolved

CACHE_STEP = 256
WARM_UP_TOKENS, WARM_UP_SECONDS = 129, 0.1


@dataclass(frozen=True)
class Row:
    """One sequence to generate."""

    max_tokens: int
    wish: Wish
    resumed: int = 0
    """The last so many of the tokens that it continues are its own, said before it was set aside."""


@dataclass(frozen=True)
class Token:
    """A row's next token; with `reason` its last. A "stop" token is not part of the answer."""

    row: int
    token: int
    reason: str | None = None
    logprobs: Logprobs | None = None
    cache: list[Any] | None = None
    tokens: list[int] | None = None
    """With `reason`: what `cache` holds."""


@dataclass(frozen=True)
class PrefillStep:
    """`done` and `total` leave out what was cached."""

    row: int
    done: int
    total: int
    cache: list[Any] | None = None
    """At a checkpoint: a cache that holds the cached tokens and `done` more."""


@dataclass(frozen=True)
class Broken:
    """These rows have failed, alone."""

    rows: tuple[int, ...]
    error: Exception


@dataclass
class Step:
    prompts: list[PrefillStep] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)


@dataclass(eq=False)
class Running:
    """A row past its prompt."""

    row: Row
    prompt: Sequence[int]
    said: list[int] = field(default_factory=list)
    launched: int = 0
    """Tokens whose computing has begun."""
    tally: Tally | None = None
    cache: list[Any] | None = None
    """Taken out of its group when its last token was under way already."""

    @property
    def held(self) -> list[int]:
        """The tokens that its cache holds: each launch took one in, the first the prompt's last."""
        return [*self.prompt, *self.said][: len(self.prompt) - 1 + self.launched]


@dataclass(eq=False)
class Flight:
    """The latest decode step: under way, or read already and where the next one starts from."""

    rows: list[int]
    chosen: Chosen
    read: bool = False


class Batch:
    """Rows that are computed together. Row ids are never used twice."""

    def __init__(self, model: Any, stop_tokens: set[int], *, prefill_step: int) -> None:
        self._model = model
        self._stop = stop_tokens
        self._ids = itertools.count()
        self._turn = 0
        self._arrivals = itertools.count()
        self._prompts: list[Prompt] = []
        self._asked: dict[int, Row] = {}
        """Rows whose prompt is not done."""
        self._running: dict[int, Running] = {}
        self._groups: list[Group] = []
        self._fresh: list[tuple[int, int]] = []
        """Rows that take part from the next step on, and their input."""
        self._flight: Flight | None = None
        self._chooser: Chooser | None = None
        self._leaving: set[int] = set()
        self._pieces: list[tuple[Prompt, int]] = []
        self._merges = can_merge(model)
        self._joins = self._merges and can_join(model)
        self._weights = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
        self.pace = Pace(prefill_step)
        self.prefill_tokens = 0
        """Prompt tokens computed since this batch was made."""

    @property
    def rows(self) -> int:
        """Rows in it, waiting ones included."""
        return len(self._asked) + len(self._running)

    @property
    def busy(self) -> bool:
        return bool(self._asked or self._running)

    @property
    def cache_bytes(self) -> int:
        prompts = sum(cache.nbytes for prompt in self._prompts for cache in prompt.cache)
        return int(prompts + sum(group.bytes for group in self._groups))

    def add(
        self,
        tokens: Sequence[int],
        rows: Sequence[Row],
        cache: list[Any] | None = None,
        cached: int = 0,
        checkpoints: Sequence[int] = (),
    ) -> range:
        """Rows that continue the same `tokens`, of which `cache` holds the first `cached`. Their ids.

        `checkpoints` are positions within `tokens` at which the cache is handed out, in a PrefillStep.
        """
        ids = range(first := next(self._ids), first + len(rows))
        for _ in rows[1:]:
            next(self._ids)
        if cache is None:
            cache = make_prompt_cache(self._model)
        for part in cache:
            if type(part) is KVCache:  # room for the whole prompt at once, instead of a copy with every piece
                part.step = max(CACHE_STEP, -(-(len(tokens) - cached) // CACHE_STEP) * CACHE_STEP)
        self._asked.update(zip(ids, rows, strict=True))
        self._prompts.append(Prompt(list(ids), tokens, cache, cached, next(self._arrivals)))
        for position in checkpoints:
            self.checkpoint(ids[0], position)
        return ids

    def checkpoint(self, row: int, position: int) -> bool:
        """Asks for one more checkpoint. False where the row has come further already, or has ended."""
        prompt = next((prompt for prompt in self._prompts if row in prompt.rows), None)
        if prompt is None or not prompt.done < position < len(prompt.tokens):
            return False
        prompt.checkpoints.add(position)
        return True

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None:
        """What is computed of a row so far: the tokens, and a cache that holds them."""
        for prompt in self._prompts:
            if row in prompt.rows:
                return (list(prompt.tokens[: prompt.done]), fork(prompt.cache)) if prompt.done else None
        running = self._running.get(row)
        if running is None:
            return None
        return running.held, fork(self._extract(row))

    def remove(self, rows: Sequence[int]) -> None:
        """Rows that have ended already are ignored; what the others hold is free after the next step."""
        for row in rows:
            self._asked.pop(row, None)
            if self._running.pop(row, None) is not None:
                self._leaving.add(row)
        for prompt in list(self._prompts):
            prompt.rows = [row for row in prompt.rows if row in self._asked]
            if not prompt.rows:
                self._prompts.remove(prompt)

    def step(self) -> Step:
        """One more token for every row, and the prompts' next pieces.

        Without prompts, the next tokens are begun before the last are read. With prompts, tokens are read as soon as
        they are there, never behind a piece.
        """
        step = Step()
        if not self._prompts:
            before = self._flight
            self._flight = self._launch()
            self._read(before, step)
        elif self._flight is not None and not self._flight.read:
            self._read(self._flight, step)
        else:
            begun = time.perf_counter()
            live = bool(self._running)
            self._prefill(live, step)
            self._flight = self._launch()
            self._settle(begun, step)
            self._read(self._flight, step)
        if not self._running:
            self._drop_all()
        return step

    # ---- prompts ----

    def _prefill(self, live: bool, step: Step) -> None:
        """Begins the next pieces; prompts that are done join the rows."""
        self._turn += 1
        self._pieces = []
        waiting = [prompt for prompt in self._prompts if prompt.left > 0]
        for prompt, count in pieces(waiting, self.pace.budget(live), self._turn):
            try:
                piece = mx.array([prompt.tokens[prompt.done : prompt.done + count]])
                self._model(piece, cache=prompt.cache)
                mx.async_eval([cache.state for cache in prompt.cache])  # type: ignore[no-untyped-call]
            except Exception as error:  # what a prompt's arithmetic raises costs its own rows
                self._break(prompt, error, step)
                continue
            prompt.done += count
            self.prefill_tokens += count
            self._pieces.append((prompt, count))
            done, total = prompt.done - prompt.cached, len(prompt.tokens) - prompt.cached
            taken = fork(prompt.cache) if prompt.done in prompt.checkpoints else None
            step.prompts += [PrefillStep(row, done, total, taken) for row in prompt.rows[:1]]
        for prompt in [prompt for prompt in self._prompts if prompt.left <= 0]:
            self._prompts.remove(prompt)
            self._join(prompt)

    def _settle(self, begun: float, step: Step) -> None:
        """Waits for the pieces under way, and measures them."""
        for prompt, _ in self._pieces:
            try:
                mx.eval([cache.state for cache in prompt.cache])
            except Exception as error:  # see _prefill
                self._break(prompt, error, step)
        self.pace.measured(sum(count for _, count in self._pieces), time.perf_counter() - begun)

    def _break(self, prompt: Prompt, error: Exception, step: Step) -> None:
        step.broken.append(Broken(tuple(prompt.rows), error))
        self.remove(prompt.rows)

    def _join(self, prompt: Prompt) -> None:
        length = len(prompt.tokens) - 1
        for number, row in enumerate(prompt.rows):
            last = number == len(prompt.rows) - 1
            cache = prompt.cache if last else fork(prompt.cache)
            for part in cache:
                if type(part) is KVCache:
                    part.step = CACHE_STEP
            self._running[row] = Running(self._asked.pop(row), prompt.tokens)
            usable = [group for group in self._groups if self._merges and not set(group.rows) <= self._leaving]
            token = sum(part.nbytes for part in cache) // max(1, length)
            room = ROOM[0] if self._joins else room_of(self._weights, token)
            found = place([group.shape for group in usable], length, room)
            if found is None:
                self._groups.append(Group(row, length, cache))
            else:
                usable[found].join(row, length, cache)
            self._fresh.append((row, prompt.tokens[-1]))

    # ---- rows ----

    def _launch(self) -> Flight | None:
        """Begins one more token for every row that needs one."""
        for row, running in self._running.items():
            if running.launched >= running.row.max_tokens and row not in self._leaving:
                running.cache = self._extract(row)
                self._leaving.add(row)
        inputs, changed = self._inputs()
        if inputs is None:
            return None
        rows = [row for group in self._groups for row in group.rows]
        together = forward(self._model, inputs, self._groups, joined=self._joins)
        if changed or self._chooser is None:
            self._chooser = self._new_chooser(rows, together.shape[-1])
        taking = [self._running[row] for row in rows]
        chosen = self._chooser.start(together, [running.launched + running.row.resumed for running in taking])
        for running in taking:
            running.launched += 1
        return Flight(rows, chosen)

    def _inputs(self) -> tuple[mx.array | None, bool]:
        """The tokens that the next step starts from, in the groups' order; whether the rows have changed."""
        before = self._flight
        old = before.rows if before is not None else []
        if not self._leaving and not self._fresh:
            return (before.chosen.tokens if before is not None else None), False
        for group in self._groups:
            if not self._leaving.isdisjoint(group.rows):
                group.leave(self._leaving)
        self._groups = [group for group in self._groups if group.rows]
        self._leaving.clear()
        places = {row: index for index, row in enumerate(old)}
        places |= {row: len(old) + index for index, (row, _) in enumerate(self._fresh)}
        added = mx.array([token for _, token in self._fresh], mx.uint32)
        self._fresh = []
        order = [places[row] for group in self._groups for row in group.rows]
        known = added if before is None else mx.concatenate([before.chosen.tokens, added])
        return (known[mx.array(order)] if order else None), True

    def _new_chooser(self, rows: list[int], vocabulary: int) -> Chooser:
        taking = [self._running[row] for row in rows]
        for running in taking:
            if running.tally is None and running.row.wish.resolved.penalised:
                asked = len(running.prompt) - running.row.resumed
                running.tally = Tally(running.prompt[:asked], vocabulary, running.prompt[asked:])
        return Chooser([running.row.wish for running in taking], [running.tally for running in taking], vocabulary)

    def _read(self, flight: Flight | None, step: Step) -> None:
        if flight is None or flight.read:
            return
        flight.read = True
        tokens, logprobs = flight.chosen.read()
        for index, (row, token) in enumerate(zip(flight.rows, tokens, strict=True)):
            running = self._running.get(row)
            if running is None:  # removed while it was computed
                continue
            running.said.append(token)
            reason = "stop" if token in self._stop else None
            if reason is None and len(running.said) >= running.row.max_tokens:
                reason = "length"
            if reason is None:
                step.tokens.append(Token(row, token, logprobs=logprobs.get(index)))
            else:
                step.tokens.append(self._last(row, running, token, reason, logprobs.get(index)))

    def _last(self, row: int, running: Running, token: int, reason: str, logprobs: Logprobs | None) -> Token:
        cache = running.cache
        if cache is None:
            cache = self._extract(row)
            self._leaving.add(row)
        del self._running[row]
        return Token(row, token, reason, logprobs, cache, running.held)

    def _extract(self, row: int) -> list[Any]:
        return next(group for group in self._groups if row in group.rows).extract(row)

    def _drop_all(self) -> None:
        """Nobody is left: what the last step computed in vain is forgotten."""
        self._groups, self._flight, self._chooser = [], None, None
        self._leaving.clear()
        self._fresh.clear()


def warm_up(batch: Batch) -> None:
    """Greedy and sampled, prefill and decode: kernels are compiled now, not under the first request. Where that is
    quick, the pace is known too."""
    sampled = Wish(Resolved(temperature=1.0, top_p=0.9, top_k=2, min_p=0.05))
    for wish, length in ((sampled, 9), (GREEDY, 9), (GREEDY, WARM_UP_TOKENS)):
        batch.pace.forget()
        begun = time.perf_counter()
        batch.add([0] * length, [Row(2, wish)])
        while batch.busy:
            batch.step()
        if wish is GREEDY and time.perf_counter() - begun > WARM_UP_SECONDS:
            break
