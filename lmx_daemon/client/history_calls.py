"""The methods of the client library for the records of requests, one for each route."""

from urllib.parse import urlencode

from lmx_daemon.client.connection import AdminConnection
from lmx_daemon.contract.admin.history import Grouping, HistoryExport, RecordedRequest, RequestRecord, RequestTotals
from lmx_daemon.contract.generation.requests import Request


class HistoryCalls(AdminConnection):
    """The part of Client for the records of requests."""

    async def history(
        self, *, limit: int = 50, model: str = "", outcome: str = "", key: str = "", days: float | None = None
    ) -> list[RequestRecord]:
        """Return the newest records that fulfil the conditions, oldest first."""
        query = _query(limit=limit, model=model, outcome=outcome, key=key, days=days)
        return await self._get(f"/admin/history?{query}", list[RequestRecord])

    async def request_record(self, request_id: str) -> RequestRecord:
        """Return the newest record whose id begins with `request_id`."""
        return await self._get(f"/admin/history/request?{_query(id=request_id)}", RequestRecord)

    async def export_request(self, request_id: str) -> str:
        """Return a request as Markdown, for a bug report."""
        return (await self._get(f"/admin/history/export?{_query(id=request_id)}", HistoryExport)).markdown

    async def recorded_request(self, request_id: str) -> Request:
        """Return a request with its text. Raise UnsupportedError if the text was not kept."""
        return (await self._get(f"/admin/history/recorded?{_query(id=request_id)}", RecordedRequest)).request

    async def request_totals(
        self, by: Grouping, *, model: str = "", outcome: str = "", key: str = "", days: float | None = None
    ) -> list[RequestTotals]:
        """Return sums over the records of each model, key or day."""
        query = _query(by=by, model=model, outcome=outcome, key=key, days=days)
        return await self._get(f"/admin/history/totals?{query}", list[RequestTotals])

    async def clear_history(self) -> int:
        """Delete all records, and return their number."""
        return await self._post("/admin/history/clear", int)


def _query(**values: str | float | None) -> str:
    return urlencode({name: value for name, value in values.items() if value not in (None, "")}, errors="replace")
