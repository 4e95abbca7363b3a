"""Token masks through the batch: a constrained row generates allowed tokens only, and no other row changes.

test_on_gpu.py runs the same checks in the way that a GPU takes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams
from tests.engines.mlx.batch.test_batch import MOST, PARAMS, alone_with, model_of, tokens_of

SAMPLED = {
    "greedy": GREEDY,
    "unfiltered": SamplingParams(temperature=1.0, seed=3),
    "filtered": SamplingParams(temperature=1.0, top_k=40, top_p=0.9, min_p=0.01, seed=3),
    "reported": SamplingParams(top_logprobs=3),
    "biased": SamplingParams(bias={7: 100.0}),
}


class Countdown:
    """A grammar whose next token is one of two, which depend on the token before."""

    def __init__(self, vocabulary: int, start: int = 10, most: int = 0) -> None:
        """`most` is the number of tokens after which the answer is complete; 0 is no limit."""
        self._vocabulary = vocabulary
        self.most = most
        self._last = start
        self.accepted: list[int] = []

    def allowed(self) -> list[int]:
        return [(self._last * 3 + 1) % self._vocabulary, (self._last * 5 + 2) % self._vocabulary]

    @property
    def words(self) -> int:
        return -(-self._vocabulary // 32)

    def advance(self, token: int, stops: bool = False) -> str | None:
        assert token in self.allowed(), "the mask did not follow the previous token"
        self.accepted.append(token)
        self._last = token
        return "complete" if len(self.accepted) == self.most else None

    @classmethod
    def write(cls, rows: Sequence[tuple["Countdown", int]], bits: npt.NDArray[np.uint32]) -> None:
        for grammar, row in rows:
            bits[row] = 0
            for token in grammar.allowed():
                bits[row, token // 32] |= np.uint32(1 << token % 32)


class Unlimited(Countdown):
    """A grammar that allows every token."""

    def allowed(self) -> list[int]:
        return list(range(self._vocabulary))


def vocabulary_of(model: Any) -> int:
    return int(model.args.vocab_size)


def generate(batch: Batch, rows: Sequence[Row]) -> dict[Row, list[int]]:
    generated: dict[Row, list[int]] = {row: [] for row in rows}
    while batch.busy:
        for token in batch.step().tokens:
            generated[token.row].append(token.token)
    return generated


def check_rows_follow_their_grammars(params: SamplingParams, architecture: str = "llama") -> None:
    """Two constrained rows beside free ones; rows join and leave while others generate."""
    model = model_of(architecture)
    batch, vocabulary = Batch(model, set(), prefill_step=4096), vocabulary_of(model)
    grammars = [Countdown(vocabulary, start) for start in (10, 33)]
    seen: dict[Row, list[int]] = {}

    def step() -> None:
        for token in batch.step().tokens:
            seen.setdefault(token.row, []).append(token.token)

    (first,) = batch.add(tokens_of(0, 40), [Row(MOST, params, constraint=grammars[0])])
    step()
    kinds = {batch.add(tokens_of(1, 33), [Row(MOST, PARAMS[kind])])[0]: kind for kind in PARAMS}
    step()
    (second,) = batch.add(tokens_of(2, 9), [Row(5, params, constraint=grammars[1])])
    while batch.busy:
        step()
    for row, kind in kinds.items():
        assert seen[row] == alone_with(architecture, tokens_of(1, 33), kind), f"a {kind} row beside constrained ones"
    for row, start, grammar in zip((first, second), (10, 33), grammars, strict=True):
        replay = Countdown(vocabulary, start)
        for token in seen[row]:
            replay.advance(token)
        assert grammar.accepted == seen[row]


@pytest.mark.parametrize("kind", SAMPLED)
def test_constrained_rows_follow_their_grammars(kind: str) -> None:
    check_rows_follow_their_grammars(SAMPLED[kind])


@pytest.mark.parametrize("architecture", ("gemma3_text", "falcon_h1"))
def test_constrained_rows_follow_their_grammars_in_other_caches(architecture: str) -> None:
    check_rows_follow_their_grammars(GREEDY, architecture)


@pytest.mark.parametrize("kind", PARAMS)
def test_a_constraint_that_allows_everything_changes_no_token(kind: str) -> None:
    model = model_of("llama")
    batch = Batch(model, set(), prefill_step=4096)
    asked = Row(MOST, PARAMS[kind], constraint=Unlimited(vocabulary_of(model)))
    (row,) = batch.add(tokens_of(0, 40), [asked])
    assert generate(batch, [row])[row] == alone_with("llama", tokens_of(0, 40), kind)


def test_log_probabilities_of_a_constrained_row_cover_allowed_tokens() -> None:
    model = model_of("llama")
    batch = Batch(model, set(), prefill_step=4096)
    grammar = Countdown(vocabulary_of(model))
    allowed = set(grammar.allowed())
    batch.add(tokens_of(0, 9), [Row(1, SamplingParams(top_logprobs=2), constraint=grammar)])
    tokens = [token for _ in range(2) for token in batch.step().tokens]
    assert tokens[0].logprobs is not None and {token for token, _ in tokens[0].logprobs.top} == allowed
    assert np.isclose(sum(np.exp(value) for _, value in tokens[0].logprobs.top), 1.0, atol=1e-5)


def test_a_row_ends_with_the_last_token_of_a_complete_answer() -> None:
    model = model_of("llama")
    batch = Batch(model, set(), prefill_step=4096)
    (row,) = batch.add(tokens_of(0, 9), [Row(MOST, GREEDY, constraint=Countdown(vocabulary_of(model), most=3))])
    tokens = []
    while batch.busy:
        tokens += batch.step().tokens
    assert [token.reason for token in tokens] == [None, None, "complete"]
    assert tokens[-1].cache is not None and row.generated == [token.token for token in tokens]


def test_the_constraint_decides_whether_a_stop_token_ends_its_row() -> None:
    class Stopping(Countdown):
        def advance(self, token: int, stops: bool = False) -> str | None:
            return "failed" if stops else super().advance(token)

    model = model_of("llama")
    vocabulary = vocabulary_of(model)
    batch = Batch(model, set(Stopping(vocabulary).allowed()), prefill_step=4096)
    batch.add(tokens_of(0, 9), [Row(MOST, GREEDY, constraint=Stopping(vocabulary))])
    assert [token.reason for _ in range(2) for token in batch.step().tokens] == ["failed"]


def test_the_next_forward_pass_begins_before_the_previous_token_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a mask in the batch the order is: forward, read, advance, sample; without one: forward, sample, read."""
    for constrained in (True, False):
        model = model_of("llama")
        batch = Batch(model, set(), prefill_step=4096)
        grammar = Countdown(vocabulary_of(model)) if constrained else None
        batch.add(tokens_of(0, 9), [Row(MOST, GREEDY, constraint=grammar)])
        while not batch.step().tokens:
            pass
        batch.step()  # the prompt's own step has read its token
        order: list[str] = []
        for name in ("_launch", "_read", "_sample"):
            monkeypatch.setattr(batch, name, _recorded(getattr(batch, name), name, order, batch))
        batch.step()
        expected = ["_launch", "_read", "_sample"] if constrained else ["_launch", "_sample", "_read"]
        assert order == expected


def _recorded(act: Any, name: str, order: list[str], batch: Any) -> Any:
    def recorded(*arguments: Any) -> Any:
        if name != "_sample" or batch._latest.sampled is None:  # a call that finds everything sampled does nothing
            order.append(name)
        return act(*arguments)

    return recorded
