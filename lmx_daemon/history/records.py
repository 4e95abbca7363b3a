"""The record of a request that has ended, made from its row. Pure."""

from collections.abc import Callable

from lmx_daemon.contract.admin.history import Outcome, RequestRecord
from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.text import one_line, shortened, valid_text

MAX_NAME = 200
"""Limit on the characters of a name that a client sends."""
MAX_MESSAGE = 500
OUTCOMES: dict[str, Outcome] = {"finished": "finished", "failed": "failed"}
"""Outcome by the last state of a row; with every other state, the client had disconnected: "cancelled"."""


def record_of(row: RequestRow, dialect_of: Callable[[str], str], body: bool = False) -> RequestRecord:
    """Return the record of the request that `row` is the final state of. `dialect_of` names the owner of a route."""
    timings = row.timings
    began = row.prompt_tokens is not None
    return RequestRecord(
        id=_name(row.id),
        at=row.started_at,
        model=_name(row.asked or row.model),
        served_by=_name(row.model),
        routed=_name(row.routed),
        route=_name(row.route),
        dialect=dialect_of(row.route) if row.route.startswith("/") else "admin" if not row.route else "",
        tenant=_name(row.tenant),
        client=client_name(row.client),
        outcome=OUTCOMES.get(row.state, "cancelled"),
        finish=row.finish,
        error=row.error.code if row.error else "",
        message=shortened(row.error.message, MAX_MESSAGE) if row.error else "",
        total=row.age,
        queue=timings.queue if timings else None,
        load=(timings.load or None) if timings else None,
        prefill=timings.prefill if timings and began else None,
        first_token=row.first_token,
        decode=timings.decode if timings and row.first_token is not None else None,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        truncated_tokens=row.truncated_tokens,
        completion_tokens=row.completion_tokens,
        miss=row.miss,
        first_difference=row.first_difference,
        body=body,
    )


def client_name(agent: str) -> str:
    """Return the products of a User-Agent without the comments: "claude-cli/2.0" of "claude-cli/2.0 (external)"."""
    return _name(agent.partition("(")[0].strip())


def _name(text: str) -> str:
    return shortened(one_line(valid_text(text)), MAX_NAME)
