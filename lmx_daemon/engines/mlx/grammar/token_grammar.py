"""The grammar of one row: which tokens it may generate next, where its answer may end, and where it is complete.

Engine thread only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from lmx_daemon.engines.mlx.grammar.vocabulary import EXPONENT_DIGITS, Bits, GrammarVocabulary, bits_of

ALL = np.uint32(0xFFFFFFFF)
"""Word of a mask that allows all tokens."""
MOST_DIGITS = 20
"""Digits in a row after which a number ends, as many as an integer of 64 bits has. A number could go on for ever."""
LONG_NUMBER = re.compile(rb"[0-9]{%d}\Z|[0-9][eE][+-]?[0-9]{%d,}\Z" % (MOST_DIGITS, EXPONENT_DIGITS))
EXPONENT = re.compile(rb"[0-9][eE][+-]?[0-9]?\Z")

GrammarPhase = Literal["start", "thinking", "closing", "answer", "free", "watched"]
"""start: the first token opens a thinking block or a tool call, or begins the answer. closing: the text behind a block
that its budget has ended. free: a tool call, unlimited. watched: an answer that may open a thinking block anywhere; it
has no grammar, or one that covers thinking."""


class CompiledGrammar:
    """A grammar of which each choice of a request gets a matcher of its own."""

    def __init__(
        self,
        matcher: Any,
        vocabulary: GrammarVocabulary,
        *,
        calls: bool = False,
        whole: bool = False,
        bounds_numbers: bool = False,
    ) -> None:
        """Create a compiled grammar.

        `calls`: it covers tool calls. `whole`: it covers thinking, too. `bounds_numbers`: it limits their digits.
        """
        self._matcher = matcher
        self.vocabulary = vocabulary
        self.calls = calls
        self.whole = whole
        self.bounds_numbers = bounds_numbers

    def matcher(self) -> Any:
        """Return a matcher at the beginning of an answer."""
        return self._matcher.deep_copy()


@dataclass(frozen=True)
class ThinkMarkers:
    """The markers of thinking. They are found as text, since a text can be cut into tokens in several ways."""

    start: bytes = b""
    end: bytes = b""
    start_tokens: tuple[int, ...] = ()
    end_tokens: tuple[int, ...] = ()
    closing_tokens: tuple[int, ...] = ()
    """Tokens that follow the end of a block that its budget has ended."""
    lead: bytes | None = None
    """Beginning of `start`, a control token or nothing. Behind it, the rest is not allowed once the budget is spent."""


NO_THINKING = ThinkMarkers()


class TokenGrammar:
    """The constraint of one row (see sampling.processors.TokenConstraint)."""

    def __init__(
        self,
        grammar: CompiledGrammar,
        *,
        think: ThinkMarkers = NO_THINKING,
        thinking: bool = False,
        may_think: bool = False,
        call_start: Sequence[int] = (),
        stops: frozenset[int] = frozenset(),
        budget: int | None = None,
        free: bool = False,
    ) -> None:
        """Create the constraint of an answer.

        `thinking`: the prompt ends in an open thinking block. `may_think`: the answer may open one. `call_start`: the
        tokens that open a tool call; after them the answer is free. `stops`: stop tokens of the request. `budget`:
        number of tokens of thinking after which its end is forced. `free`: the grammar does not apply; only the budget
        does.
        """
        self._grammar = grammar
        self._vocabulary = grammar.vocabulary
        self._think = think
        self._openings = tuple(
            marker for marker in (think.start_tokens if may_think else (), tuple(call_start)) if marker
        )
        self._whole = grammar.whole and not free
        watched = free or self._whole
        self._after: GrammarPhase = "watched" if watched else "answer"
        self._begin: GrammarPhase = "thinking" if thinking else "watched" if watched else "start"
        self._budget = budget if think.end_tokens else None
        self._stops = stops
        words = self._vocabulary.words
        self._stop_bits = bits_of(stops, words)
        self._all_stop_bits = bits_of(stops | self._vocabulary.stops, words)
        self._opening_bits = bits_of((marker[0] for marker in self._openings), words)
        self._begin_again()

    def _begin_again(self) -> None:
        self._matcher = self._grammar.matcher()
        self._phase: GrammarPhase = self._begin
        self._outside = not self._whole or self._begin == "thinking"
        """Whether thinking is outside of the grammar: always, or in the block that the prompt has opened."""
        self._thought = 0
        """Number of tokens of thinking."""
        self._closed = 0
        """Number of tokens of `closing` that the row has."""
        self._tail = b""
        """Newest bytes, as many as the next marker has."""
        self._recent = b""
        """Newest bytes of the answer, as many as the bound on numbers needs."""

    @property
    def words(self) -> int:
        """Words of its mask."""
        return self._vocabulary.words

    def restart(self, generated: Sequence[int]) -> Self:
        """Return the constraint of the same answer after `generated`."""
        fresh = type(self).__new__(type(self))
        fresh.__dict__ |= self.__dict__
        fresh._begin_again()
        for token in generated:
            fresh.advance(token)
        return fresh

    def advance(self, token: int, stops: bool = False) -> str | None:
        """Accept the row's newest token, which is a stop token if `stops`. Return why the row ends, or None."""
        if stops:
            free = self._phase in ("free", "watched") and not self._whole
            return "stop" if free or self._matcher.is_accepting() else "failed"
        if self._phase == "start":
            self._phase = self._opened(token)
            self._thought -= len(self._think.start_tokens)  # the marker is not thinking
        follows = self._follows
        self._watch(token)
        if not follows:
            return None
        if not self._matcher.consume_token(token):
            return "failed"
        if self._grammar.bounds_numbers:
            self._recent = (self._recent + self._vocabulary.tokens[token])[-MOST_DIGITS:]
        return "complete" if self._matcher.is_stopped() else None

    @property
    def _follows(self) -> bool:
        """Return whether the next token has to follow the grammar."""
        return self._phase in ("start", "answer") or not self._outside

    @property
    def _spent(self) -> bool:
        return self._budget is not None and self._thought >= self._budget

    def _watch(self, token: int) -> None:
        """Follow the beginning and the end of thinking."""
        think, text = self._think, self._vocabulary.tokens[token]
        if self._phase == "thinking":
            self._thought += 1
            self._tail = (self._tail + text)[-len(think.end) :]
            if think.end and self._tail == think.end:
                self._leave("closing" if self._spent and think.closing_tokens else self._after)
        elif self._phase == "closing":
            self._closed += 1
            if self._closed == len(think.closing_tokens):
                self._leave(self._after)
        elif self._phase == "watched" and think.start:
            self._tail = (self._tail + text)[-len(think.start) :]
            if self._tail == think.start:
                self._phase, self._tail = "thinking", b""

    def _leave(self, phase: GrammarPhase) -> None:
        """End a thinking block."""
        self._phase, self._tail, self._closed, self._outside = phase, b"", 0, not self._whole

    @classmethod
    def write(cls, rows: Sequence[tuple[Self, int]], bits: Bits) -> None:
        """Write the mask of each constraint to its row of `bits` [rows, words], in parallel on many cores."""
        parsed = [(grammar._matcher, row) for grammar, row in rows if grammar._follows]
        executor, size = rows[0][0]._vocabulary.executor, bits.shape[1] * bits.itemsize
        if executor is not None and len(parsed) > 1:
            executor.unsafe_compute_mask_ptr(parsed, bits.ctypes.data, size, len(bits))
        else:  # a thread takes longer to start than one mask
            for matcher, row in parsed:
                matcher.unsafe_compute_mask_ptr(bits.ctypes.data + row * size, size)
        for grammar, row in rows:
            grammar._complete(bits[row])

    def _complete(self, own: Bits) -> None:
        """Write the bits that the parser does not decide."""
        if self._follows:
            self._complete_parsed(own)
        else:
            own[:] = ALL
            if self._phase == "thinking":
                own &= ~self._all_stop_bits
        if self._budget is not None:
            self._limit_thinking(own)
        if not own.any():  # no token can continue the answer: any of them ends it as failed
            own[0] = 1

    def _complete_parsed(self, own: Bits) -> None:
        if self._stops:
            own |= self._stop_bits
            if not self._matcher.is_accepting():
                own &= ~self._stop_bits
        if self._phase == "start":
            own |= self._opening_bits
        if self._recent[-1:].isalnum() or self._recent[-1:] in (b"+", b"-"):
            self._bound_number(own)

    def _bound_number(self, own: Bits) -> None:
        """Let a number end that has enough digits. A text may follow its digits with letters or a quote."""
        numbers = self._vocabulary.numbers
        ends = LONG_NUMBER.search(self._recent) is not None
        if (ends or EXPONENT.search(self._recent)) and not (own & numbers.text).any():
            _narrow(own, own & ~(numbers.digit if ends else numbers.digits))

    def _limit_thinking(self, own: Bits) -> None:
        """Force the end of thinking at its budget, and let none begin behind it."""
        think = self._think
        if self._phase == "closing":
            _narrow(own, own & bits_of((think.closing_tokens[self._closed],), len(own)))
        elif not self._spent:
            return
        elif self._phase == "thinking":
            _narrow(own, own & bits_of((self._end_token(),), len(own)))
        elif self._phase == "watched" and think.lead is not None and self._tail.endswith(think.lead):
            _narrow(own, own & ~self._vocabulary.beginning(think.start[len(think.lead) :]))

    def _end_token(self) -> int:
        """Return the next token of the end of the thinking block, part of which may stand there already."""
        end = self._think.end_tokens
        texts = [b"".join(self._vocabulary.tokens[token] for token in end[:n]) for n in range(len(end))]
        return end[next((n for n in range(len(end) - 1, 0, -1) if self._tail.endswith(texts[n])), 0)]

    def _opened(self, token: int) -> GrammarPhase:
        opened = [marker for marker in self._openings if marker[0] == token]
        if not opened:
            return "answer"
        return "thinking" if opened[0] == self._think.start_tokens else "free"


def _narrow(own: Bits, narrower: Bits) -> None:
    """Replace a mask by a narrower one, unless that allows no token."""
    if narrower.any():
        own[:] = narrower
