"""The structs of the request history: records of requests that have ended, and totals over them.

Times are seconds (wall-clock if the name ends in `at`). A record has no text of its request.
"""

from typing import Literal

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.requests import Request

Outcome = Literal["finished", "failed", "cancelled"]


class RequestRecord(Frozen, frozen=True):
    """A request that has ended. A duration is None for a stage that the request did not reach."""

    id: str
    """Id of the request. Clients may send one id again after its request has ended."""
    at: float
    """Arrival in the daemon."""
    model: str
    """Name that the client gave."""
    outcome: Outcome
    served_by: str = ""
    """Id of the model that was chosen for it."""
    routed: str = ""
    """Rule by which the model was chosen, and the models that were skipped; "" if the client gave its id."""
    route: str = ""
    """Path of the public port, "count" for a token count, "" for the admin socket."""
    dialect: str = ""
    tenant: str = ""
    """Share that the request was counted for: "key:" and the id of its API key, "http", "cli" or "tui"."""
    client: str = ""
    """Name and version of the client program."""
    finish: str = ""
    """Reason for the end of the first choice: "stop", "length" or "tool_calls"."""
    error: str = ""
    """Code of the error of a failed request."""
    message: str = ""
    """Message of the error."""
    total: float = 0.0
    """Time from the arrival to the end."""
    queue: float | None = None
    """Time from the arrival to the start of prefill, the load of the model included."""
    load: float | None = None
    """Part of `queue` that the load of the model took; None if the model was loaded."""
    prefill: float | None = None
    first_token: float | None = None
    """Time from the arrival to the first token."""
    decode: float | None = None
    """Time from the first token to the last one."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    truncated_tokens: int = 0
    completion_tokens: int = 0
    miss: str = ""
    """Reason for a cache miss; see Started."""
    first_difference: int | None = None
    """Position at which the prompt differs from the most similar stored one."""
    body: bool = False
    """Whether the request itself, with its text, is stored."""

    @property
    def rate(self) -> float | None:
        """Tokens per second of decode; None if it cannot be computed."""
        return (self.completion_tokens - 1) / self.decode if self.decode and self.completion_tokens > 1 else None


Grouping = Literal["model", "key", "day"]


class RequestTotals(Frozen, frozen=True):
    """Sums over the records of one model, one key or one day."""

    name: str
    """Id of the model, tenant, or day as 2026-01-31 in the daemon's time zone."""
    requests: int
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Sum of the times from arrival to end."""


class RecordedRequest(Frozen, frozen=True):
    """A request whose text was kept, as it reached its worker."""

    request: Request


class HistoryExport(Frozen, frozen=True):
    """A request for a bug report."""

    markdown: str
