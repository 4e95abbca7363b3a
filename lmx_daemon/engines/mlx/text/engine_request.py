"""The worker's record of one request, whatever it asks for: its prompt, its rows in the batch, its times and faults."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from lmx_daemon.contract.errors import DeadlineError
from lmx_daemon.contract.generation.deadline import patience, too_late
from lmx_daemon.contract.generation.events import Ending, Event, Finished, Started, Timings, Usage
from lmx_daemon.contract.generation.requests import Computation
from lmx_daemon.engines.mlx.batch.scoring import TokenScore
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.prefix.lookup import PrefixLookup, PrefixStart
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt


class EngineRequest(ABC):
    """Request in the worker, from its tokenized prompt to its last event."""

    def __init__(
        self, computation: Computation, prepared: PreparedPrompt, arrived: float, load_seconds: float, seed: int = 0
    ) -> None:
        self.computation = computation
        """The request as the client sent it."""
        self.prepared = prepared
        self.seed = seed
        self.arrived = arrived
        """Monotonic time of its arrival in the daemon, in seconds."""
        self.lookup: PrefixLookup | None = None
        """The stored prefixes that its prompt may reuse."""
        self.cached = 0
        """Prompt tokens that were taken from stored prefixes."""
        self.scratch = 0
        """Bytes that the log-probabilities of its prompt take while they are computed."""
        self.max_generated = 0
        """Tokens that each row may generate, by its reservation of memory."""
        self.warnings: list[str] = []
        self.preempted = False
        """Whether it is back in the queue and its rows are to be resumed."""
        self.ended = False
        """Whether its terminal event is made."""
        self.failures = 0
        """Number of failed steps that it took part in."""
        self.quarantined = False
        """Whether it took part in a failed step and has generated no token since."""
        self._load_seconds = load_seconds
        self._started = 0.0
        self._first: float | None = None

    @property
    def id(self) -> str:
        """Id of the request, unique while it lives."""
        return self.computation.id

    @property
    @abstractmethod
    def rows(self) -> Sequence[Row]:
        """Its rows in the batch; none until it starts."""

    @property
    def caches(self) -> int:
        """Number of KV caches that it has at a time."""
        return self.computation.rows

    @property
    def longest_prompt(self) -> int:
        """Number of tokens of the longest sequence that is computed before a token is generated."""
        return len(self.prepared.tokens)

    @property
    @abstractmethod
    def max_tokens(self) -> int | None:
        """Number of tokens that each row is to generate; None without a limit."""

    @property
    def longest_generated(self) -> int:
        """Number of tokens that its longest row has generated."""
        return 0

    @property
    def reuses(self) -> bool:
        """Return whether a stored prefix may be reused. It would hide the log-probabilities of its tokens."""
        return True

    def deadline_error(self, now: float) -> DeadlineError | None:
        """Return the error of a request whose deadline has passed at the monotonic time `now`."""
        asked = self.computation
        if asked.deadline is None and asked.queue_deadline is None:  # the usual case, in every step
            return None
        begun = self._started > 0.0
        limit = patience(asked, begun=begun)
        return too_late(limit, begun=begun) if limit is not None and now > self.arrived + limit else None

    @abstractmethod
    def preempt(self) -> None:
        """Record that the request left the batch, which may still compute tokens of its old rows."""

    def started(self, found: PrefixStart, instance: str, context_length: int) -> Started:
        """Record what is reused of stored prefixes, and return the event."""
        self.cached = found.cached
        return Started(
            id=self.id,
            prompt_tokens=len(self.prepared.tokens),
            cached_tokens=self.cached,
            seed=self.seed,
            instance=instance,
            context_length=context_length,
            truncated_tokens=self.prepared.truncated,
            first_difference=found.first_difference,
            miss=found.miss,
        )

    def opening(self, tokenizer: Any) -> list[Event]:
        """Return the events with which the prompt is reported, if the request asks for it."""
        return []

    @abstractmethod
    def prompt_scored(self, row: Row, scores: Sequence[TokenScore], tokenizer: Any) -> list[Event]:
        """Take the next log-probabilities of a row's prompt, and return the events that report them."""

    def finished(self, cancelled: bool = False) -> Finished:
        """Return the terminal event of a request that was cancelled, or of an answer."""
        return Finished(
            id=self.id,
            endings=(Ending(reason="cancelled"),) * self.computation.rows,
            usage=self.usage(),
            timings=self.timings(),
        )

    def usage(self, completion_tokens: int = 0, reasoning_tokens: int = 0) -> Usage:
        """Return the token counts."""
        return Usage(
            prompt_tokens=len(self.prepared.tokens),
            cached_tokens=self.cached,
            truncated_tokens=self.prepared.truncated,
            completion_tokens=completion_tokens,
            reasoning_tokens=reasoning_tokens,
        )

    def timings(self) -> Timings:
        """Return the durations until now."""
        now = time.monotonic()
        first = self._first or now
        return Timings(
            queue=(self._started or now) - self.arrived,
            prefill=first - self._started if self._started else 0.0,
            first_token=first - self.arrived,
            decode=now - first,
            load=self._load_seconds,
        )

    @abstractmethod
    def close(self) -> None:
        """Release the rows, which refer to the request. Call after the terminal event is made."""
