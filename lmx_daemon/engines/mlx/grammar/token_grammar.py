"""The grammar of one row: which tokens it may generate next, where its answer may end, and where it is complete.

Engine thread only.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from lmx_daemon.engines.mlx.grammar.vocabulary import Bits, GrammarVocabulary, bits_of, ends_with

ALL = np.uint32(0xFFFFFFFF)
"""Word of a mask that allows all tokens."""

GrammarPhase = Literal["start", "thinking", "prefix", "answer", "free", "watched"]
"""start: the first token opens a thinking block or a tool call, or begins the answer. free: a tool call, unlimited.
prefix: tokens before the grammar, which are forced. watched: an answer without a grammar, which may open a thinking
block."""


class CompiledGrammar:
    """A grammar of which each choice of a request gets a matcher of its own."""

    def __init__(self, matcher: Any, vocabulary: GrammarVocabulary) -> None:
        self._matcher = matcher
        self.vocabulary = vocabulary

    def matcher(self) -> Any:
        """Return a matcher at the beginning of an answer."""
        return self._matcher.deep_copy()


class TokenGrammar:
    """The constraint of one row (see sampling.processors.TokenConstraint)."""

    def __init__(
        self,
        grammar: CompiledGrammar,
        *,
        thinking: bool = False,
        may_think: bool = False,
        call_start: Sequence[int] = (),
        stops: frozenset[int] = frozenset(),
        budget: int | None = None,
        free: bool = False,
        prefix: Sequence[int] = (),
    ) -> None:
        """Create the constraint of an answer.

        `thinking`: the prompt ends in an open thinking block. `may_think`: the answer may open one. `call_start`: the
        tokens that open a tool call; after them the answer is free. `stops`: stop tokens of the request. `budget`:
        number of tokens of a thinking block after which its end is forced. `free`: the grammar does not apply; only
        the budget does. `prefix`: tokens that are forced before the grammar.
        """
        self._grammar = grammar
        self._vocabulary = grammar.vocabulary
        self._openings = tuple(
            marker for marker in (self._vocabulary.think_start if may_think else (), tuple(call_start)) if marker
        )
        self._after: GrammarPhase = "watched" if free else "prefix" if prefix else "answer"
        self._begin: GrammarPhase = "thinking" if thinking else "watched" if free else "start"
        self._budget = budget if self._vocabulary.think_end else None
        self._prefix = tuple(prefix)
        self._forced_tokens = 0
        """Number of tokens of the prefix that the row has."""
        self._thought = 0
        """Number of tokens of the thinking block."""
        self._stops = stops
        words = self._vocabulary.words
        self._stop_bits = bits_of(stops, words)
        self._all_stop_bits = bits_of(stops | self._vocabulary.stops, words)
        self._opening_bits = bits_of((marker[0] for marker in self._openings), words)
        self._matcher = grammar.matcher()
        self._phase: GrammarPhase = self._begin
        self._tail: list[int] = []
        """Newest tokens of the thinking block."""

    @property
    def words(self) -> int:
        """Words of its mask."""
        return self._vocabulary.words

    def restart(self, generated: Sequence[int]) -> Self:
        """Return the constraint of the same answer after `generated`."""
        fresh = type(self).__new__(type(self))
        fresh.__dict__ |= self.__dict__
        fresh._matcher, fresh._phase, fresh._tail = self._grammar.matcher(), self._begin, []
        fresh._thought = fresh._forced_tokens = 0
        for token in generated:
            fresh.advance(token)
        return fresh

    def advance(self, token: int, stops: bool = False) -> str | None:
        """Accept the row's newest token, which is a stop token if `stops`. Return why the row ends, or None."""
        if stops:
            return "stop" if self._phase in ("free", "watched") or self._matcher.is_accepting() else "failed"
        if self._phase == "start":
            self._phase = self._opened(token)
            self._thought = -len(self._vocabulary.think_start)  # the marker is not reasoning
        if self._phase == "prefix":
            self._forced_tokens += 1
            if self._forced_tokens >= len(self._prefix):
                self._phase = "answer"
        elif self._phase == "watched":
            start = self._vocabulary.think_start
            self._tail = [*self._tail, token][-len(start) :] if start else []
            if start and ends_with(self._tail, start):
                self._phase, self._tail, self._thought = "thinking", [], 0
        elif self._phase == "thinking":
            self._thought += 1
            self._tail = [*self._tail, token][-len(self._vocabulary.think_end) :]
            if ends_with(self._tail, self._vocabulary.think_end):
                self._phase, self._tail = self._after, []
        elif self._phase == "answer":
            if not self._matcher.consume_token(token):
                return "failed"
            return "complete" if self._matcher.is_stopped() else None
        return None

    @classmethod
    def write(cls, rows: Sequence[tuple[Self, int]], bits: Bits) -> None:
        """Write the mask of each constraint to its row of `bits` [rows, words]. Several are computed in parallel."""
        parsed = [(grammar._matcher, row) for grammar, row in rows if grammar._phase in ("start", "answer")]
        if len(parsed) == 1:  # a thread would take longer to start than the mask takes
            matcher, row = parsed[0]
            matcher.unsafe_compute_mask_ptr(bits[row].ctypes.data, bits.shape[1] * bits.itemsize)
        elif parsed:
            executor = rows[0][0]._vocabulary.executor
            executor.unsafe_compute_mask_ptr(parsed, bits.ctypes.data, bits.shape[1] * bits.itemsize, len(bits))
        for grammar, row in rows:
            grammar._complete(bits[row])

    def _complete(self, own: Bits) -> None:
        """Write the bits that the parser does not decide."""
        if self._phase == "prefix" or (self._phase == "start" and self._prefix):
            own[:] = bits_of((self._prefix[self._forced_tokens],), len(own))
            if self._phase == "start":
                own |= self._opening_bits
            return
        if self._phase in ("free", "thinking", "watched"):
            own[:] = ALL
            if self._phase == "thinking":
                own &= ~self._all_stop_bits
                if self._budget is not None and self._thought >= self._budget:
                    own[:] = bits_of((self._forced(),), len(own))
            return
        if self._stops:
            own |= self._stop_bits
            if not self._matcher.is_accepting():
                own &= ~self._stop_bits
        if self._phase == "start":
            own |= self._opening_bits
        if not own.any():  # no token can continue the answer: any of them ends it as failed
            own[0] = 1

    def _forced(self) -> int:
        """Return the next token of the end of the thinking block, part of which may stand there already."""
        end = self._vocabulary.think_end
        written = next((n for n in range(len(end) - 1, 0, -1) if tuple(self._tail[-n:]) == tuple(end[:n])), 0)
        return end[written]

    def _opened(self, token: int) -> GrammarPhase:
        opened = [marker for marker in self._openings if marker[0] == token]
        if not opened:
            return "prefix" if self._prefix else "answer"
        return "thinking" if opened[0] == self._vocabulary.think_start else "free"
