"""Records of requests that have ended, as rows of a table, the newest first. Pure."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.units import UNKNOWN, age, timing
from lmx_tui.formatting import count, one_line, percent, rate, short_name
from lmx_tui.widgets.frame.table import Column
from lmx_tui.widgets.logs.inspection import OUTCOME_COLORS

RECORD_COLUMNS = (
    Column("ago", "ago", 5, right=True, keep=8),
    Column("id", "id", 8, keep=3),
    Column("model", "model", 14, flexible=True, keep=10, middle=True),
    Column("outcome", "outcome", 12, keep=9),
    Column("prompt", "prompt", 7, right=True, keep=6),
    Column("cached", "cached", 6, right=True, keep=4),
    Column("out", "out", 6, right=True, keep=7),
    Column("rate", "tok/s", 6, right=True, keep=5),
    Column("ttft", "ttft", 7, right=True, keep=4),
    Column("total", "total", 7, right=True, keep=7),
    Column("client", "client", 18, keep=2),
    Column("route", "route", 22, keep=1),
)


def key_of(record: RequestRecord) -> str:
    """Return the key of a record's row. Clients may send one id again, so the time of arrival is a part of it."""
    return f"{record.at}:{record.id}"


def record_rows(
    records: Sequence[RequestRecord], query: str, now: float, colors: Mapping[str, str]
) -> dict[str, dict[str, Text]]:
    """Return the rows of the records that contain every word of `query`, the newest first."""
    words = query.lower().split()
    return {
        key_of(record): _row(record, now, colors)
        for record in reversed(records)
        if all(word in _searched(record) for word in words)
    }


def _searched(record: RequestRecord) -> str:
    parts = (record.id, record.served_by, record.model, record.client, record.tenant, record.route, record.outcome)
    return " ".join((*parts, record.error, record.message)).lower()


def _row(record: RequestRecord, now: float, colors: Mapping[str, str]) -> dict[str, Text]:
    share = record.cached_tokens / record.prompt_tokens if record.cached_tokens and record.prompt_tokens else None
    cells = {
        "ago": age(max(0.0, now - record.at)),
        "id": one_line(record.id)[-8:],
        "model": short_name(record.served_by or record.model),
        "prompt": count(record.prompt_tokens),
        "cached": percent(share),
        "out": count(record.completion_tokens) if record.completion_tokens else UNKNOWN,
        "rate": rate(record.rate),
        "ttft": timing(record.first_token),
        "total": timing(record.total),
        "client": one_line(record.client or record.tenant) or UNKNOWN,
        "route": one_line(record.route) or UNKNOWN,
    }
    outcome = Text(one_line(record.error or record.outcome), colors[OUTCOME_COLORS[record.outcome]])
    return {name: Text(value) for name, value in cells.items()} | {"outcome": outcome}
