"""The record of a decision: the log-probabilities of options after a prompt. Nothing is generated.

The first row computes the prompt, and the logits of its last position give the first token of every option. An option
of more tokens has a row of its own, which continues the cache of the prompt. One row runs at a time, so that at most
two caches exist.
"""

import time
from collections.abc import Sequence
from typing import Any

from lmx_daemon.contract.generation.events import Decided, Event
from lmx_daemon.contract.generation.requests import Decide
from lmx_daemon.engines.mlx.batch.groups import fork
from lmx_daemon.engines.mlx.batch.scoring import Scoring, TokenScore
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY
from lmx_daemon.engines.mlx.text.choice import Choice
from lmx_daemon.engines.mlx.text.engine_request import EngineRequest
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt


class DecisionRow(Row):
    """A row that scores options; `option` is None for the one that computes the prompt."""

    def __init__(
        self, request: "DecisionRecord", sequence: list[int], scoring: Scoring, option: int | None = None
    ) -> None:
        super().__init__(0, GREEDY)
        self.request = request
        self.sequence = sequence
        """The tokens that the row reads, and the last token of the option, which is scored and not read."""
        self.scoring = scoring
        self.option = option


class DecisionRecord(EngineRequest):
    """A request for the log-probabilities of options."""

    def __init__(
        self, decide: Decide, prepared: PreparedPrompt, arrived: float, load_seconds: float, vocabulary: int
    ) -> None:
        super().__init__(decide, prepared, arrived, load_seconds)
        self._vocabulary = vocabulary
        self._options = prepared.options
        self._firsts = tuple(sorted({option[0] for option in prepared.options}))
        """The first tokens of all options, each once."""
        self._logprobs: list[float] = []
        """Sums over the tokens of each option so far; empty until the prompt is computed."""
        self._left: list[int] = []
        """Indices of the options with tokens that are not scored yet."""
        self._prompt_cache: list[Any] | None = None
        """KV cache of the prompt, which the rows of options continue."""
        self._row: DecisionRow | None = None

    @property
    def rows(self) -> Sequence[DecisionRow]:
        """The row that computes now."""
        return [] if self._row is None else [self._row]

    @property
    def caches(self) -> int:
        """Maximum number of its KV caches: one of the prompt, and one of the current option of several tokens."""
        return 2 if any(len(option) > 1 for option in self._options) else 1

    @property
    def longest_prompt(self) -> int:
        """Number of tokens of the prompt with its longest option."""
        return len(self.prepared.tokens) + max(map(len, self._options))

    @property
    def max_tokens(self) -> int:
        """Number of tokens that it generates."""
        return 0

    def start(self) -> DecisionRow:
        """Record the time at which prefill starts, and return the row that computes the prompt.

        A resumed request computes its prompt again.
        """
        self._started = self._started or time.monotonic()
        self.preempted = False
        prompt = self.prepared.tokens
        scoring = Scoring(len(prompt), self._vocabulary, candidates=self._firsts)
        self._row = DecisionRow(self, [*prompt, self._firsts[0]], scoring)
        return self._row

    def preempt(self) -> None:
        """Record that the request left the batch. What it has computed is computed again."""
        self.preempted = True
        self._row = self._prompt_cache = None
        self._logprobs, self._left = [], []

    def prompt_scored(self, row: Row, scores: Sequence[TokenScore], tokenizer: Any) -> list[Event]:
        """Add the log-probabilities of the next tokens of options. No event reports them."""
        assert isinstance(row, DecisionRow)
        if row.option is None:
            found = dict(zip(self._firsts, scores[0].candidates, strict=True))
            self._logprobs = [found[option[0]] for option in self._options]
            self._left = [index for index, option in enumerate(self._options) if len(option) > 1]
        else:
            self._logprobs[row.option] += sum(score.logprobs.chosen for score in scores)
        return []

    def next_row(self, row: DecisionRow, cache: list[Any]) -> tuple[DecisionRow, list[Any]] | None:
        """Return the row of the next option and a cache of the prompt, or None after the last option.

        `row` is the row that has been computed, and `cache` is its cache.
        """
        if row.option is None:
            self._prompt_cache = cache
            self._first = time.monotonic()
        self._row = None
        if not self._left:
            return None
        assert self._prompt_cache is not None
        index, prompt = self._left.pop(0), self.prepared.tokens
        scoring = Scoring(len(prompt) + 1, self._vocabulary)
        self._row = DecisionRow(self, [*prompt, *self._options[index]], scoring, index)
        return self._row, fork(self._prompt_cache) if self._left else self._prompt_cache

    def decided(self) -> Decided:
        """Return the terminal event with the log-probability of each option."""
        return Decided(id=self.id, logprobs=tuple(self._logprobs), usage=self.usage(), timings=self.timings())

    def close(self) -> None:
        """Release the row and the cache."""
        self.ended = True
        self._row = self._prompt_cache = None


def request_of(row: Row) -> EngineRequest:
    """Return the request of a row of the scheduler's batch."""
    assert isinstance(row, Choice | DecisionRow)
    return row.request
