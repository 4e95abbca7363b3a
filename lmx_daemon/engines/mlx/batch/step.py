"""Types of the batch: rows, and the results of one step. Token ids and caches, no text."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from lmx_daemon.engines.mlx.batch.scoring import Scoring, TokenScore
from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams
from lmx_daemon.engines.mlx.sampling.processors import SampledRow, TokenConstraint
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs


class Row(SampledRow):
    """Sequence: what it may generate and what it has generated. An object joins one batch once."""

    def __init__(
        self,
        max_tokens: int,
        params: SamplingParams,
        *,
        stop_tokens: frozenset[int] = frozenset(),
        constraint: TokenConstraint | None = None,
        generated: Sequence[int] = (),
    ) -> None:
        super().__init__(params, constraint=constraint)
        self.max_tokens = max_tokens
        """Number of tokens that it may generate in all. A row of 0 ends with its prompt."""
        self.scoring: Scoring | None = None
        """The log-probabilities of its prompt that it reports."""
        self.stop_tokens = stop_tokens
        """Token ids that end this row, besides the model's own."""
        self.generated = list(generated)
        """Its tokens so far, including one that ended it. It continues after those that it has when it joins."""
        self.prompt: Sequence[int] = ()
        """Set when it joins; the generated tokens are not part of it."""
        self.launched = 0
        """Number of tokens whose computation has begun."""
        self.cache: list[Any] | None = None
        """The row's own cache, if it left its group while its last token was still being computed."""

    @property
    def tokens(self) -> list[int]:
        """The prompt and the generated tokens."""
        return [*self.prompt, *self.generated]

    @property
    def held(self) -> list[int]:
        """The tokens that the row's cache holds. Each launch adds one; the first launch adds the last one known."""
        return self.tokens[: len(self.prompt) - 1 + self.launched]

    def renewed(self) -> Self:
        """Return a copy that continues in a batch. The batch that the row has left may still compute a token of it."""
        row = copy.copy(self)
        row.generated = list(self.generated)
        row.counts = row.cache = None
        return row


@dataclass(frozen=True)
class Token:
    """The next token of a row; the last one has a `reason`.

    "stop": a stop token, which is not part of the answer. "length": the row's limit. "complete": its constraint allows
    no further token. "failed": its constraint cannot be followed.
    """

    row: Row
    token: int
    reason: str | None = None
    logprobs: Logprobs | None = None
    cache: list[Any] | None = None
    """The row's cache, set together with `reason`. It holds `row.held`."""


@dataclass(frozen=True)
class PrefillProgress:
    """Progress of one prompt through the model."""

    row: Row
    done: int
    """Tokens that are computed or were cached."""
    total: int
    cache: list[Any] | None = None
    """At a checkpoint, a cache that holds `done` tokens."""


@dataclass(frozen=True)
class RowScores:
    """The next log-probabilities of a row's prompt, in the order of their positions."""

    row: Row
    scores: tuple[TokenScore, ...]


@dataclass(frozen=True)
class PromptRead:
    """The end of rows that generate nothing."""

    rows: tuple[Row, ...]
    cache: list[Any]
    """It holds the prompt without its last token."""


@dataclass(frozen=True)
class FailedRows:
    """Rows of one prompt that could not be computed. The other rows are not affected."""

    rows: tuple[Row, ...]
    error: Exception


@dataclass
class StepResult:
    """Results of one step of the batch."""

    prompts: list[PrefillProgress] = field(default_factory=list)
    scores: list[RowScores] = field(default_factory=list)
    read: list[PromptRead] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    failed: list[FailedRows] = field(default_factory=list)
