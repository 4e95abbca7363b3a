"""The constraint of one row: thinking and tool calls before it, where it may end, and its restart."""

from collections.abc import Sequence

import llguidance
import numpy as np
import pytest

from lmx_daemon.engines.mlx.grammar.token_grammar import CompiledGrammar, ThinkMarkers, TokenGrammar
from lmx_daemon.engines.mlx.grammar.vocabulary import GrammarVocabulary, TokenBytes, number_kinds, number_tokens

END, THINK, THOUGHT, CALL = 256, 257, 258, 259
SPECIAL = (END, THINK, THOUGHT, CALL)
MARKS = ThinkMarkers(b"<think>", b"</think>", (THINK,), (THOUGHT,), lead=b"")


@pytest.fixture(scope="module", params=("many cores", "few cores"))
def digits(request: pytest.FixtureRequest) -> CompiledGrammar:
    """Return the grammar of two or three digits over the vocabulary of all bytes."""
    executor = llguidance.LLExecutor(2) if request.param == "many cores" else None
    tokens = [bytes([byte]) for byte in range(256)] + [b"<end>", b"<think>", b"</think>", b"<call>"]
    tokenizer = llguidance.LLTokenizer(TokenBytes(tokens, SPECIAL, END), eos_token=[END])  # type: ignore[arg-type]
    numbers = number_tokens([number_kinds(b"" if token in SPECIAL else text) for token, text in enumerate(tokens)])
    vocabulary = GrammarVocabulary(tokenizer, executor, -(-len(tokens) // 32), frozenset([END]), tokens, numbers)
    grammar = '%llguidance {"no_forcing": true}\nstart: /[0-9]{2,3}/'
    return CompiledGrammar(llguidance.LLMatcher(tokenizer, grammar), vocabulary)


def allowed(*constraints: TokenGrammar) -> list[set[int]]:
    """Return the tokens that each constraint allows, by one common call."""
    bits = np.zeros((len(constraints), constraints[0].words), np.uint32)
    TokenGrammar.write([(constraint, row) for row, constraint in enumerate(constraints)], bits)
    octets = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    return [set(map(int, np.flatnonzero(row))) for row in octets]


def advance(constraint: TokenGrammar, tokens: Sequence[int]) -> list[str | None]:
    return [constraint.advance(token) for token in tokens]


DIGITS = set(b"0123456789")


def test_the_end_is_allowed_where_the_grammar_may_end(digits: CompiledGrammar) -> None:
    constraint = TokenGrammar(digits)
    assert allowed(constraint) == [DIGITS]
    assert constraint.restart([]).advance(END, stops=True) == "failed"
    assert advance(constraint, b"12") == [None, None] and allowed(constraint) == [DIGITS | {END}]
    assert constraint.restart(b"12").advance(END, stops=True) == "stop"
    assert advance(constraint, b"3") == ["complete"]


def test_a_token_outside_the_grammar_fails(digits: CompiledGrammar) -> None:
    assert TokenGrammar(digits).advance(ord("x")) == "failed"


def test_rows_in_different_places_are_written_together(digits: CompiledGrammar) -> None:
    first, second = TokenGrammar(digits), TokenGrammar(digits)
    advance(second, b"12")
    assert allowed(first, second) == [DIGITS, DIGITS | {END}]


def test_the_grammar_begins_after_the_thinking_block_of_the_prompt(digits: CompiledGrammar) -> None:
    constraint = TokenGrammar(digits, think=MARKS, thinking=True)
    (free,) = allowed(constraint)
    assert END not in free and {THOUGHT, ord("x")} <= free
    assert advance(constraint, [*b"any text 1", THOUGHT]) == [None] * 11
    assert allowed(constraint) == [DIGITS] and advance(constraint, b"123")[-1] == "complete"


def test_an_answer_may_open_a_thinking_block_at_its_beginning_only(digits: CompiledGrammar) -> None:
    constraint = TokenGrammar(digits, think=MARKS, may_think=True)
    assert allowed(constraint) == [DIGITS | {THINK}] and allowed(constraint.restart(b"1")) == [DIGITS]
    advance(constraint, [THINK, *b"hm", THOUGHT])
    assert allowed(constraint) == [DIGITS]


def test_a_tool_call_is_free(digits: CompiledGrammar) -> None:
    constraint = TokenGrammar(digits, call_start=(CALL,))
    assert allowed(constraint) == [DIGITS | {CALL}]
    advance(constraint, [CALL, *b"{}"])
    assert END in allowed(constraint)[0] and constraint.advance(END, stops=True) == "stop"


def test_a_stop_token_of_the_request_follows_the_grammar_too(digits: CompiledGrammar) -> None:
    constraint = TokenGrammar(digits, stops=frozenset([ord("7"), ord("z")]))
    assert allowed(constraint) == [DIGITS - {ord("7")}]
    advance(constraint, b"12")
    assert allowed(constraint) == [DIGITS | {END, ord("z")}]


@pytest.mark.parametrize("generated", [b"1", b"12", [THINK, 65], [THINK, 65, THOUGHT, 49]])
def test_a_restarted_constraint_allows_what_the_original_allows(
    digits: CompiledGrammar, generated: Sequence[int]
) -> None:
    constraint = TokenGrammar(digits, think=MARKS, may_think=True)
    advance(constraint, generated)
    restarted = constraint.restart(generated)
    assert allowed(restarted) == allowed(constraint)
    advance(restarted, b"9")
    assert allowed(constraint.restart(generated)) == allowed(constraint), "the original is not advanced"


class TestBudgetOfThinking:
    def test_the_end_of_the_block_is_forced_at_the_budget(self, digits: CompiledGrammar) -> None:
        constraint = TokenGrammar(digits, think=MARKS, thinking=True, budget=2)
        assert len(allowed(constraint)[0]) > 200
        advance(constraint, b"ab")
        assert allowed(constraint) == [{THOUGHT}]
        advance(constraint, [THOUGHT])
        assert allowed(constraint) == [DIGITS]

    def test_a_budget_of_nothing_closes_a_block_at_once(self, digits: CompiledGrammar) -> None:
        assert allowed(TokenGrammar(digits, think=MARKS, thinking=True, budget=0)) == [{THOUGHT}]
        opened = TokenGrammar(digits, think=MARKS, may_think=True, budget=0)
        advance(opened, [THINK])
        assert allowed(opened) == [{THOUGHT}]

    def test_an_answer_without_a_grammar_is_limited_in_its_thinking_only(self, digits: CompiledGrammar) -> None:
        constraint = TokenGrammar(digits, think=MARKS, budget=1, free=True)
        advance(constraint, [ord("x"), THINK])
        assert len(allowed(constraint)[0]) > 200
        advance(constraint, b"a")
        assert allowed(constraint) == [{THOUGHT}]
        advance(constraint, [THOUGHT, CALL])
        assert END in allowed(constraint)[0] and constraint.advance(END, stops=True) == "stop"

    def test_a_restarted_row_has_its_thinking_counted_again(self, digits: CompiledGrammar) -> None:
        constraint = TokenGrammar(digits, think=MARKS, thinking=True, budget=2)
        assert allowed(constraint.restart(b"ab")) == [{THOUGHT}]
        assert len(allowed(constraint.restart(b"a"))[0]) > 200

    def test_no_thinking_begins_behind_its_budget(self, digits: CompiledGrammar) -> None:
        constraint = TokenGrammar(digits, think=MARKS, budget=1, free=True)
        advance(constraint, [THINK, *b"a", THOUGHT])
        assert THINK not in allowed(constraint)[0] and ord("x") in allowed(constraint)[0]

    def test_what_follows_a_block_is_forced_where_the_budget_has_ended_it(self, digits: CompiledGrammar) -> None:
        think = ThinkMarkers(
            b"<call>t<think>", b"</think>", (CALL, ord("t"), THINK), (THOUGHT,), tuple(b"go"), b"<call>"
        )
        constraint = TokenGrammar(digits, think=think, budget=2, free=True)
        advance(constraint, [CALL, ord("t"), THINK, *b"ab"])
        assert allowed(constraint) == [{THOUGHT}]
        advance(constraint, [THOUGHT])
        assert allowed(constraint) == [{ord("g")}] and allowed(constraint.restart([])) != [{ord("g")}]
        advance(constraint, b"go")
        assert CALL in allowed(constraint)[0]
        advance(constraint, [CALL])
        assert ord("t") not in allowed(constraint)[0], "the header of a further block is not completed"
        ended = TokenGrammar(digits, think=think, budget=9, free=True)
        advance(ended, [CALL, ord("t"), THINK, *b"ab", THOUGHT])
        assert len(allowed(ended)[0]) > 200
