"""The admin socket's routes for the records of requests."""

import time

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from lmx_daemon.contract.admin.history import Grouping, HistoryExport, RecordedRequest, RequestRecord, RequestTotals
from lmx_daemon.contract.errors import UnsupportedError
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.history.history import History
from lmx_daemon.history.report import markdown
from lmx_daemon.history.store import DAY, Criteria
from lmx_daemon.monitor.logs import Logs
from lmx_daemon.monitor.snapshot import Monitor

MAX_RECORDS = 10_000
"""Number of records in one answer."""
KEEPING = "`lmx config set history.failed_requests true` keeps the text of requests that fail from then on for a day"


@get("/admin/history")
async def find(
    history: NamedDependency[History],
    limit: FromQuery[int] = 50,
    model: FromQuery[str] = "",
    outcome: FromQuery[str] = "",
    key: FromQuery[str] = "",
    days: FromQuery[float | None] = None,
) -> list[RequestRecord]:
    """Return the newest records, oldest first."""
    return await history.find(criteria(model, outcome, key, days), max(0, min(limit, MAX_RECORDS)))


@get("/admin/history/request")
async def record(history: NamedDependency[History], id: FromQuery[str]) -> RequestRecord:
    """Return the newest record whose id begins with `id`."""
    return (await history.get(id))[0]


@get("/admin/history/export")
async def export(
    history: NamedDependency[History],
    logs: NamedDependency[Logs],
    monitor: NamedDependency[Monitor],
    id: FromQuery[str],
) -> HistoryExport:
    """Return a request as Markdown, with its log lines and, if they are kept, its messages."""
    found, body = await history.get(id)
    status = monitor.status()
    versions = {"lmx": status.version, "platform": status.platform, "backend": status.backend, **status.versions}
    return HistoryExport(markdown=markdown(found, body, logs.of_request(found.id), versions))


@get("/admin/history/recorded")
async def recorded(history: NamedDependency[History], id: FromQuery[str]) -> RecordedRequest:
    """Return a request with its text. Raise UnsupportedError if the text was not kept."""
    found, body = await history.get(id)
    if body is None:
        raise UnsupportedError(f"the text of the request {found.id} was not kept", hint=KEEPING)
    return RecordedRequest(request=msgspec.json.decode(body, type=Request))


@get("/admin/history/totals")
async def totals(
    history: NamedDependency[History],
    by: FromQuery[Grouping] = "model",
    model: FromQuery[str] = "",
    outcome: FromQuery[str] = "",
    key: FromQuery[str] = "",
    days: FromQuery[float | None] = None,
) -> list[RequestTotals]:
    """Return sums over the records of each model, key or day."""
    return await history.totals(by, criteria(model, outcome, key, days))


@post("/admin/history/clear", status_code=200)
async def clear(history: NamedDependency[History]) -> int:
    """Delete all records, and return their number."""
    return await history.clear()


def criteria(model: str, outcome: str, key: str, days: float | None) -> Criteria:
    """Return the criteria of a question. A key is named by its id or as the tenant that it has."""
    tenant = key if not key or ":" in key or key in ("http", "cli", "tui", "local") else f"key:{key}"
    return Criteria(model, outcome, tenant, None if days is None else time.time() - days * DAY)


ROUTES = [find, record, export, recorded, totals, clear]
