"""The methods of the client library for models on disk and on the Hub, one for each route."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec

from lmx_daemon.client.connection import AdminConnection
from lmx_daemon.contract.admin.library.disk import (
    DiskUse,
    PruneReport,
    PruneRequest,
    PurgeRequest,
    RemoveRequest,
    TrashRow,
    UndoRequest,
)
from lmx_daemon.contract.admin.library.files import (
    Details,
    ImportRequest,
    TrustRequest,
    TrustRow,
    VerifyRequest,
    VerifyUpdate,
)
from lmx_daemon.contract.admin.library.hub import (
    CardRequest,
    ModelCard,
    Offers,
    Outdated,
    RecommendRequest,
    SearchRequest,
    UpdateRequest,
)
from lmx_daemon.contract.admin.library.move import MovePlan, MoveRequest, MoveUpdate
from lmx_daemon.contract.admin.library.pulls import Download

HUB_SECONDS = 120.0
"""Timeout of requests that the daemon forwards to the Hub."""


class LibraryCalls(AdminConnection):
    """The part of Client for the library."""

    async def details(self, model: str) -> Details:
        return await self._get(f"/admin/library/model?id={quote(model, safe='')}", Details)

    async def card(self, request: CardRequest) -> ModelCard:
        """Return the model card of an installed model or of a repository on the Hub. It is not trusted."""
        return await self._post("/admin/library/card", ModelCard, request, seconds=HUB_SECONDS)

    async def verify(self, request: VerifyRequest) -> AsyncIterator[VerifyUpdate]:
        """Yield the progress of a verification; the last update has the result."""
        async for line in self._lines("POST", "/admin/library/verify", request):
            yield msgspec.json.decode(line, type=VerifyUpdate)

    async def import_model(self, request: ImportRequest) -> AsyncIterator[VerifyUpdate]:
        """Yield the progress of an import; the last update has the result."""
        async for line in self._lines("POST", "/admin/library/import", request):
            yield msgspec.json.decode(line, type=VerifyUpdate)

    async def update_model(self, request: UpdateRequest) -> AsyncIterator[Download]:
        """Yield the pull of the newest commit; the last one has the result."""
        async for line in self._lines("POST", "/admin/library/update", request):
            yield msgspec.json.decode(line, type=Download)

    async def outdated(self) -> Outdated:
        """Return newer commits of installed models, after requests to the Hub."""
        return await self._post("/admin/library/outdated", Outdated, None, seconds=HUB_SECONDS)

    async def search(self, request: SearchRequest) -> Offers:
        """Return search results of the Hub, or stored ones if the Hub is unreachable."""
        return await self._post("/admin/library/search", Offers, request, seconds=HUB_SECONDS)

    async def recommend(self, request: RecommendRequest) -> Offers:
        return await self._post("/admin/library/recommend", Offers, request, seconds=HUB_SECONDS)

    async def removal(self, request: RemoveRequest) -> Details:
        """Return the details of a model that may be removed now. Raise what its removal would raise."""
        return await self._post("/admin/library/removal", Details, request)

    async def remove_model(self, request: RemoveRequest) -> TrashRow:
        """Move a model to the trash."""
        return await self._post("/admin/library/remove", TrashRow, request)

    async def trash(self) -> list[TrashRow]:
        return await self._get("/admin/library/trash", list[TrashRow])

    async def undo_remove(self, request: UndoRequest) -> TrashRow:
        return await self._post("/admin/library/undo", TrashRow, request)

    async def purge(self, request: PurgeRequest) -> list[TrashRow]:
        """Delete models in the trash."""
        return await self._post("/admin/library/purge", list[TrashRow], request, seconds=HUB_SECONDS)

    async def disk(self) -> DiskUse:
        return await self._get("/admin/library/disk", DiskUse)

    async def prune(self, request: PruneRequest) -> PruneReport:
        return await self._post("/admin/library/prune", PruneReport, request, seconds=HUB_SECONDS)

    async def plan_move(self, request: MoveRequest) -> MovePlan:
        """Return what a move of the cache will do. Raise what prevents it."""
        return await self._post("/admin/library/move/plan", MovePlan, request, seconds=HUB_SECONDS)

    async def copy_cache(self, request: MoveRequest) -> AsyncIterator[MoveUpdate]:
        """Yield the progress of the copy; the last update has the result."""
        async for line in self._lines("POST", "/admin/library/move/copy", request):
            yield msgspec.json.decode(line, type=MoveUpdate)

    async def finish_move(self, request: MoveRequest) -> AsyncIterator[MoveUpdate]:
        """Yield the progress of the deletion at the source; the last update has the result."""
        async for line in self._lines("POST", "/admin/library/move/finish", request):
            yield msgspec.json.decode(line, type=MoveUpdate)

    async def trusted(self) -> list[TrustRow]:
        return await self._get("/admin/library/trust", list[TrustRow])

    async def trust(self, request: TrustRequest) -> TrustRow:
        return await self._post("/admin/library/trust", TrustRow, request)
