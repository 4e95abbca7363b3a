"""The words of the batch: a row that is asked for, and what a step brings of it. Token ids and caches, no text."""

from dataclasses import dataclass, field
from typing import Any

from lmx_daemon.engines.mlx.sampling.parameters import SamplingParams
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs


@dataclass(frozen=True)
class Row:
    """One sequence to generate."""

    max_tokens: int
    sampling: SamplingParams
    resumed: int = 0
    """The last so many of the tokens that it continues are its own, said before it was set aside."""
    stops: frozenset[int] = frozenset()
    """It ends at these too."""


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
class PrefillProgress:
    """So many tokens of a prompt are computed or were cached."""

    row: int
    done: int
    total: int
    cache: list[Any] | None = None
    """At a checkpoint: one that holds `done` tokens."""


@dataclass(frozen=True)
class FailedRows:
    """These rows have failed, alone."""

    rows: tuple[int, ...]
    error: Exception


@dataclass
class StepResult:
    """What one step has brought."""

    prompts: list[PrefillProgress] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    broken: list[FailedRows] = field(default_factory=list)
