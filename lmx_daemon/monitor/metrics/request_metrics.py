"""The request observer that counts: requests, tokens and durations. It does no work for a single token.

Bounds of buckets are those that the conventions of OpenTelemetry for generative AI recommend, in seconds and tokens.
"""

from collections.abc import Callable

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.generation.events import Event, Started
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.monitor.metrics.tallies import BoundedNames, Distribution, Tally
from lmx_daemon.settings.sections.metrics import MetricsSettings

DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)
FIRST_TOKEN = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)
PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
MOST_MODELS = 50
"""Number of models with labels of their own. Only installed models get one, so few daemons reach the bound."""
MOST_CODES = 60
"""Number of error codes. lmx has about 30; a worker might send others."""
OPERATIONS = {"/v1/completions": "text_completion", "/api/generate": "text_completion", "count": "count_tokens"}
"""Operation by route, as OpenTelemetry names it; every other route is "chat"."""


class RequestMetrics:
    """Counters and histograms over all requests since the start of the daemon."""

    observes_events = False

    def __init__(self, settings: Callable[[], MetricsSettings]) -> None:
        self._settings = settings
        self.models = BoundedNames(MOST_MODELS)
        """Labels of models."""
        self._codes = BoundedNames(MOST_CODES)
        self.requests = Tally()
        """By route, model, outcome and code of the error."""
        self.prompt_tokens, self.cached_tokens, self.completion_tokens = Tally(), Tally(), Tally()
        """By model."""
        self.prefixes = Tally()
        """Requests by model, and "hit" or "miss" of the prefix cache."""
        self.queue, self.prefill = Distribution(DURATIONS), Distribution(DURATIONS)
        """By model."""
        self.duration = Distribution(DURATIONS)
        """By operation, model and code of the error."""
        self.first_token, self.per_token = Distribution(FIRST_TOKEN), Distribution(PER_TOKEN)
        """By operation and model."""
        self.tokens = Distribution(TOKENS)
        """By operation, model, and "input" or "output"."""
        self.responses = Tally()
        """Answers of the public port by dialect and status."""

    def responded(self, dialect: str, status: int) -> None:
        """Count an answer of the public port."""
        self.responses.add((dialect, str(status)))

    def queued(self, request: Request) -> None:
        """Count nothing."""

    def started(self, request: Request, event: Started) -> None:
        """Count nothing."""

    def event(self, request: Request, event: Event) -> None:
        """Count nothing."""

    def ended(self, request: Request, row: RequestRow) -> None:
        """Count the request."""
        if not self._settings().enabled:
            return
        model = self.models.of(row.instance.rpartition(":")[0] or row.model)
        route, operation = row.route or "admin", OPERATIONS.get(row.route, "chat")
        outcome = row.state if row.state in ("finished", "failed") else "cancelled"
        code = self._codes.of(row.error.code) if row.error else ""
        self.requests.add((route, model, outcome, code))
        self.duration.add((operation, model, code), row.age)
        if row.timings is not None:
            self.queue.add((model,), row.timings.queue)
        if row.prompt_tokens is not None:
            self._count_prompt(row, row.prompt_tokens, operation, model)
        if row.first_token is not None:
            self._count_answer(row, row.first_token, operation, model)

    def refused(self, request: Request, row: RequestRow) -> None:
        """Count the request. Its model may be any text, so that only known names are labels."""
        if self._settings().enabled:
            code = self._codes.of(row.error.code) if row.error else ""
            self.requests.add((row.route or "admin", self.models.known(row.model), "refused", code))

    def _count_prompt(self, row: RequestRow, prompt_tokens: int, operation: str, model: str) -> None:
        self.prompt_tokens.add((model,), prompt_tokens)
        self.tokens.add((operation, model, "input"), prompt_tokens)
        if row.cached_tokens is not None:
            self.cached_tokens.add((model,), row.cached_tokens)
            self.prefixes.add((model, "hit" if row.cached_tokens else "miss"))
        if row.timings is not None:
            self.prefill.add((model,), row.timings.prefill)

    def _count_answer(self, row: RequestRow, first_token: float, operation: str, model: str) -> None:
        self.completion_tokens.add((model,), row.completion_tokens)
        self.tokens.add((operation, model, "output"), row.completion_tokens)
        self.first_token.add((operation, model), first_token)
        if row.timings is not None and row.completion_tokens > 1:
            self.per_token.add((operation, model), row.timings.decode / (row.completion_tokens - 1))
