"""The client's methods for the library, one for each route of http/admin_library.py."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from lmx_daemon.contract.library import Details, TrustRequest, TrustRow, VerifyRequest, VerifyUpdate

T = TypeVar("T")
HUB_SECONDS = 120.0
"""A question that the daemon passes on to the Hub."""


class LibraryCalls:
    """A part of Client, which brings the wire."""

    async def details(self, model: str) -> Details:
        return await self._get(f"/admin/library/model?id={quote(model, safe='')}", Details)

    async def verify(self, request: VerifyRequest) -> AsyncIterator[VerifyUpdate]:
        """How far it is; the last one says how it ended."""
        async for line in self._lines("POST", "/admin/library/verify", request):
            yield msgspec.json.decode(line, type=VerifyUpdate)

    async def trusted(self) -> list[TrustRow]:
        return await self._get("/admin/library/trust", list[TrustRow])

    async def trust(self, request: TrustRequest) -> TrustRow:
        return await self._post("/admin/library/trust", TrustRow, request)

    # ---- the wire ----

    async def _get(self, path: str, answer: type[T]) -> T:
        raise NotImplementedError

    async def _post(self, path: str, answer: type[T], body: Any = None, *, seconds: float = HUB_SECONDS) -> T:
        raise NotImplementedError

    def _lines(self, method: str, path: str, body: Any = None, *, read: float | None = None) -> AsyncIterator[bytes]:
        raise NotImplementedError
