"""Types of the batch: requested rows, and the results of one step. Token ids and caches, no text."""

from dataclasses import dataclass, field
from typing import Any

from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams
from lmx_daemon.engines.mlx.sampling.processors import TokenConstraint
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs


@dataclass(frozen=True)
class Row:
    """One sequence to generate."""

    max_tokens: int
    sampling: SamplingParams
    resumed: int = 0
    """Number of tokens at the end of its prompt that the row had generated itself before it was preempted."""
    stop_tokens: frozenset[int] = frozenset()
    """Token ids that end this row, besides the model's own."""
    constraint: TokenConstraint | None = None
    """Limit on its tokens; for a resumed row, advanced past the tokens that it had generated."""


@dataclass(frozen=True)
class Token:
    """The next token of a row; the last one has a `reason`. A "stop" token is not part of the answer."""

    row: int
    token: int
    reason: str | None = None
    logprobs: Logprobs | None = None
    cache: list[Any] | None = None
    """The row's cache, set together with `reason`."""
    tokens: list[int] | None = None
    """The tokens that `cache` holds."""


@dataclass(frozen=True)
class PrefillProgress:
    """Progress of one prompt through the model."""

    row: int
    done: int
    """Tokens that are computed or were cached."""
    total: int
    cache: list[Any] | None = None
    """At a checkpoint, a cache that holds `done` tokens."""


@dataclass(frozen=True)
class FailedRows:
    """Rows of one prompt that could not be computed. The other rows are not affected."""

    rows: tuple[int, ...]
    error: Exception


@dataclass
class StepResult:
    """Results of one step of the batch."""

    prompts: list[PrefillProgress] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    failed: list[FailedRows] = field(default_factory=list)
