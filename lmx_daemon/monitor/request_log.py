"""The log line of each request that has ended: what it cost, and never its text."""

import time
from collections.abc import Callable
from typing import Any

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.allowance import Allowance
from lmx_daemon.contract.generation.events import Event, Started
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.monitor.logs import log

MAX_REFUSED = 20
"""Lines of refused requests a second. A flood of them must not fill the files of the log."""


class RequestLog:
    """A request observer that writes one line for each request."""

    observes_events = False

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._refusals = Allowance(MAX_REFUSED, clock)

    def queued(self, request: Request) -> None:
        """Write nothing."""

    def started(self, request: Request, event: Started) -> None:
        """Write nothing."""

    def event(self, request: Request, event: Event) -> None:
        """Write nothing."""

    def ended(self, request: Request, row: RequestRow) -> None:
        """Write the line."""
        log(f"worker {row.model}", "info", summary(row), row.id, figures(row))

    def refused(self, request: Request, row: RequestRow) -> None:
        """Write the line, up to MAX_REFUSED a second."""
        if self._refusals.take():
            self.ended(request, row)


def figures(row: RequestRow) -> dict[str, Any]:
    """Return what the line states, for programs. Times are seconds."""
    found = {
        "model": row.model,
        "asked": row.asked,
        "route": row.route,
        "client": row.client,
        "tenant": row.tenant,
        "outcome": row.state,
        "code": row.error.code if row.error else "",
        "seconds": round(row.age, 4),
        "first_token": None if row.first_token is None else round(row.first_token, 4),
        "prompt_tokens": row.prompt_tokens,
        "cached_tokens": row.cached_tokens,
        "completion_tokens": row.completion_tokens,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def summary(row: RequestRow) -> str:
    """Return the line: state, time, tokens, cache hits and error of a request."""
    parts = [f"{row.route} from {row.client or row.tenant}: {row.state} after {row.age:.2f} s"]
    if row.asked:
        parts.append(f"asked for {row.asked} ({row.routed})")
    if row.prompt_tokens is not None:
        place = "" if row.first_difference is None else f", at token {row.first_difference}"
        where = f"; {row.miss}{place}" if row.miss else ""
        parts.append(f"{row.prompt_tokens} prompt tokens ({row.cached_tokens or 0} cached{where})")
    if row.truncated_tokens:
        parts.append(f"{row.truncated_tokens} tokens of the prompt left out")
    parts.append(f"{row.completion_tokens} tokens")
    if row.rate:
        parts.append(f"{row.rate:.1f} tok/s")
    if row.error is not None:
        parts.append(f"{row.error.code}: {row.error.message}")
    return ", ".join(parts)
