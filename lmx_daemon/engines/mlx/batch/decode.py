"""Rows past their prompt: one token for each, the next computing while the last is read; joining and leaving.

Which rows go together is groups.py's, which token comes is choose.py's. It knows no prompts under way. Engine thread
only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache

from lmx_daemon.engines.mlx.batch.groups import ROOM, Group, fork, forward, place, room_of
from lmx_daemon.engines.mlx.batch.step import Row, Token
from lmx_daemon.engines.mlx.load.probe import ModelAbilities
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs, SampledTokens, Sampler, TokenCounts

CACHE_STEP = 256
"""Tokens that a cache grows by."""


@dataclass(eq=False)
class Running:
    """A row past its prompt."""

    row: Row
    prompt: Sequence[int]
    generated: list[int] = field(default_factory=list)
    launched: int = 0
    """Tokens whose computing has begun."""
    counts: TokenCounts | None = None
    cache: list[Any] | None = None
    """Taken out of its group when its last token was under way already."""

    @property
    def held(self) -> list[int]:
        """The tokens that its cache holds: each launch took one in, the first the prompt's last."""
        return [*self.prompt, *self.generated][: len(self.prompt) - 1 + self.launched]


@dataclass(eq=False)
class DecodeStep:
    """The latest decode step: under way, or read already and where the next one starts from."""

    rows: list[int]
    chosen: SampledTokens
    read: bool = False


class Decode:
    """All rows of a batch that have their prompt."""

    def __init__(self, model: Any, stop_tokens: set[int], abilities: ModelAbilities) -> None:
        self._model = model
        self._stop = stop_tokens
        self._running: dict[int, Running] = {}
        self._groups: list[Group] = []
        self._fresh: list[tuple[int, int]] = []
        """Rows that take part from the next step on, and their input."""
        self._leaving: set[int] = set()
        self._sampler: Sampler | None = None
        self._abilities = abilities
        self._weights = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
        self.flight: DecodeStep | None = None

    def __len__(self) -> int:
        return len(self._running)

    @property
    def cache_bytes(self) -> int:
        return sum(group.bytes for group in self._groups)

    def join(self, row: int, asked: Row, tokens: Sequence[int], cache: list[Any]) -> None:
        """A row whose `cache` holds all of its `tokens` but the last."""
        length = len(tokens) - 1
        self._take_over(cache)
        self._running[row] = Running(asked, tokens)
        usable = [group for group in self._groups if self._abilities.merges and not set(group.rows) <= self._leaving]
        token = sum(part.nbytes for part in cache) // max(1, length)
        room = ROOM[0] if self._abilities.joins else room_of(self._weights, token)
        found = place([group.shape for group in usable], length, room)
        if found is None:
            self._groups.append(Group(row, length, cache))
        else:
            usable[found].join(row, length, cache)
        self._fresh.append((row, tokens[-1]))

    def begin(self, row: int, asked: Row, tokens: Sequence[int], cache: list[Any], logits: mx.array) -> None:
        """A row, while there is no other, whose `cache` holds all of its `tokens`; `logits` [1, vocabulary] are of what
        comes next, which is the next `flight`."""
        running = self._running[row] = Running(asked, tokens)
        self._take_over(cache)
        self._groups = [Group(row, len(tokens), cache)]
        self._sampler = self._new_sampler([row], logits.shape[-1])
        self.flight = DecodeStep([row], self._sampler.start(logits, [asked.resumed]))
        running.launched = 1

    def leave(self, row: int) -> None:
        """Idempotent; what the row holds is free after the next launch."""
        if self._running.pop(row, None) is not None:
            self._leaving.add(row)

    def extract(self, row: int) -> tuple[list[int], list[Any]] | None:
        """What is computed of a row: the tokens, and a cache that holds them."""
        running = self._running.get(row)
        return (running.held, fork(self._cache_of(row))) if running is not None else None

    def launch(self) -> None:
        """Begins one more token for every row that needs one; it is the next `flight`."""
        for row, running in self._running.items():
            if running.launched >= running.row.max_tokens and row not in self._leaving:
                running.cache = self._cache_of(row)
                self._leaving.add(row)
        inputs, changed = self._inputs()
        if inputs is None:
            self.flight = None
            return
        rows = [row for group in self._groups for row in group.rows]
        if self.flight is not None and not self._abilities.lazy:
            self.flight.chosen.settle()
        together = forward(self._model, inputs, self._groups, joined=self._abilities.joins)
        if self.flight is not None:  # also what it counts for penalties, which a new sampler starts from
            self.flight.chosen.settle()
        if changed or self._sampler is None:
            self._sampler = self._new_sampler(rows, together.shape[-1])
        taking = [self._running[row] for row in rows]
        chosen = self._sampler.start(together, [running.launched + running.row.resumed for running in taking])
        for running in taking:
            running.launched += 1
        self.flight = DecodeStep(rows, chosen)

    def read(self, flight: DecodeStep | None) -> list[Token]:
        """Waits for what was launched."""
        if flight is None or flight.read:
            return []
        flight.read = True
        found = []
        tokens, logprobs = flight.chosen.read()
        for index, (row, token) in enumerate(zip(flight.rows, tokens, strict=True)):
            running = self._running.get(row)
            if running is None:  # removed while it was computed
                continue
            running.generated.append(token)
            reason = "stop" if token in self._stop or token in running.row.stops else None
            if reason is None and len(running.generated) >= running.row.max_tokens:
                reason = "length"
            if reason is None:
                found.append(Token(row, token, logprobs=logprobs.get(index)))
            else:
                found.append(self._last(row, running, token, reason, logprobs.get(index)))
        return found

    def clear(self) -> None:
        """Nobody is left: what the last step computed in vain is forgotten."""
        self._groups, self.flight, self._sampler = [], None, None
        self._leaving.clear()
        self._fresh.clear()

    # ---- how it is done ----

    def _take_over(self, cache: list[Any]) -> None:
        for part in cache:
            if type(part) is KVCache:
                part.step = CACHE_STEP

    def _inputs(self) -> tuple[mx.array | None, bool]:
        """The tokens that the next step starts from, in the groups' order; whether the rows have changed."""
        before = self.flight
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

    def _new_sampler(self, rows: list[int], vocabulary: int) -> Sampler:
        taking = [self._running[row] for row in rows]
        for running in taking:
            if running.counts is None and running.row.sampling.penalised:
                asked = len(running.prompt) - running.row.resumed
                running.counts = TokenCounts(running.prompt[:asked], vocabulary, running.prompt[asked:])
        return Sampler([running.row.sampling for running in taking], [running.counts for running in taking], vocabulary)

    def _last(self, row: int, running: Running, token: int, reason: str, logprobs: Logprobs | None) -> Token:
        cache = running.cache
        if cache is None:
            cache = self._cache_of(row)
            self._leaving.add(row)
        del self._running[row]
        return Token(row, token, reason, logprobs, cache, running.held)

    def _cache_of(self, row: int) -> list[Any]:
        return next(group for group in self._groups if row in group.rows).extract(row)
