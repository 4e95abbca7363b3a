"""The admin socket's routes of the library, one for each method of contract/library_calls.py. Ids hold slashes, so they
come in bodies and queries, never in paths."""

import asyncio

from litestar import get, post
from litestar.datastructures import State
from litestar.params import FromQuery
from litestar.response import Stream

from lmx_daemon.contract.library import (
    Details,
    DiskUse,
    ImportRequest,
    Offers,
    Outdated,
    PruneReport,
    PruneRequest,
    PurgeRequest,
    RecommendRequest,
    RemoveRequest,
    SearchRequest,
    TrashRow,
    TrustRequest,
    TrustRow,
    UndoRequest,
    UpdateRequest,
    VerifyRequest,
)
from lmx_daemon.http.admin.lines import lines_of
from lmx_daemon.http.admin.routes import hub_of
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import decode
from lmx_daemon.library.hub.recommend import recommend as choose
from lmx_daemon.library.library import Library


@get("/admin/library/model")
async def details(state: State, id: FromQuery[str]) -> Details:
    library: Library = state.library
    return await asyncio.to_thread(library.details, id)


@post("/admin/library/verify", status_code=200)
async def verify(request: AnyRequest, state: State) -> Stream:
    library: Library = state.library
    return await lines_of(library.verifier.verify(decode(await request.body(), VerifyRequest), hub_of(request)))


@post("/admin/library/import", status_code=200)
async def bring(request: AnyRequest, state: State) -> Stream:
    library: Library = state.library
    return await lines_of(library.bring(decode(await request.body(), ImportRequest)))


@post("/admin/library/update", status_code=200)
async def update(request: AnyRequest, state: State) -> Stream:
    library: Library = state.library
    return await lines_of(library.updates.update(decode(await request.body(), UpdateRequest).id, hub_of(request)))


@post("/admin/library/outdated", status_code=200)
async def outdated(request: AnyRequest, state: State) -> Outdated:
    library: Library = state.library
    return await asyncio.to_thread(library.updates.check, library.hub(hub_of(request)))


@post("/admin/library/search", status_code=200)
async def search(request: AnyRequest, state: State) -> Offers:
    library: Library = state.library
    asked = decode(await request.body(), SearchRequest)
    return await asyncio.to_thread(library.search(hub_of(request)).search, asked)


@post("/admin/library/recommend", status_code=200)
async def recommend(request: AnyRequest, state: State) -> Offers:
    library: Library = state.library
    asked = decode(await request.body(), RecommendRequest)
    return await asyncio.to_thread(choose, library.search(hub_of(request)), asked.context_length, asked.every)


@post("/admin/library/remove", status_code=200)
async def remove(request: AnyRequest, state: State) -> TrashRow:
    library: Library = state.library
    asked = decode(await request.body(), RemoveRequest)
    await library.registry.catalog.seek(asked.id)
    await asyncio.to_thread(library.check_unlinked, asked.id)
    row = await asyncio.to_thread(library.remove, asked.id)
    await library.registry.catalog.rescan(urgent=True)
    return row


@get("/admin/library/trash")
async def trash(state: State) -> list[TrashRow]:
    library: Library = state.library
    return await asyncio.to_thread(library.trash.rows)


@post("/admin/library/undo", status_code=200)
async def undo(request: AnyRequest, state: State) -> TrashRow:
    library: Library = state.library
    return await asyncio.to_thread(library.undo, decode(await request.body(), UndoRequest).id)


@post("/admin/library/purge", status_code=200)
async def purge(request: AnyRequest, state: State) -> list[TrashRow]:
    library: Library = state.library
    asked = decode(await request.body(), PurgeRequest)
    return await asyncio.to_thread(lambda: library.trash.purge(identity=asked.id))


@get("/admin/library/disk")
async def disk(state: State) -> DiskUse:
    library: Library = state.library
    return await asyncio.to_thread(library.space.use)


@post("/admin/library/prune", status_code=200)
async def prune(request: AnyRequest, state: State) -> PruneReport:
    library: Library = state.library
    return await asyncio.to_thread(library.space.prune, decode(await request.body(), PruneRequest).dry_run)


@get("/admin/library/trust")
async def trusted(state: State) -> list[TrustRow]:
    library: Library = state.library
    return library.trusted()


@post("/admin/library/trust", status_code=200)
async def trust(request: AnyRequest, state: State) -> TrustRow:
    library: Library = state.library
    return await asyncio.to_thread(library.trust, decode(await request.body(), TrustRequest))


ROUTES = [
    details,
    verify,
    bring,
    update,
    outdated,
    search,
    recommend,
    remove,
    trash,
    undo,
    purge,
    disk,
    prune,
    trusted,
    trust,
]
