"""The admin socket's routes of the library, one for each method of contract/library_calls.py. Ids hold slashes, so they
come in bodies and queries, never in paths."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from litestar import get, post
from litestar.datastructures import State
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
from lmx_daemon.http.admin.routes import hub_of, line, lines
from lmx_daemon.http.errors import decode
from lmx_daemon.http.serving import AnyRequest
from lmx_daemon.library.hub.recommend import recommend as choose
from lmx_daemon.library.librarian import Librarian


@get("/admin/library/model")
async def details(state: State, id: str) -> Details:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.details, id)


@post("/admin/library/verify", status_code=200)
async def verify(request: AnyRequest, state: State) -> Stream:
    librarian: Librarian = state.librarian
    return await told(librarian.proving.verify(decode(await request.body(), VerifyRequest), hub_of(request)))


@post("/admin/library/import", status_code=200)
async def bring(request: AnyRequest, state: State) -> Stream:
    librarian: Librarian = state.librarian
    return await told(librarian.bring(decode(await request.body(), ImportRequest)))


@post("/admin/library/update", status_code=200)
async def update(request: AnyRequest, state: State) -> Stream:
    librarian: Librarian = state.librarian
    return await told(librarian.updates.update(decode(await request.body(), UpdateRequest).id, hub_of(request)))


@post("/admin/library/outdated", status_code=200)
async def outdated(request: AnyRequest, state: State) -> Outdated:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.updates.check, librarian.hub(hub_of(request)))


@post("/admin/library/search", status_code=200)
async def search(request: AnyRequest, state: State) -> Offers:
    librarian: Librarian = state.librarian
    asked = decode(await request.body(), SearchRequest)
    return await asyncio.to_thread(librarian.search(hub_of(request)).search, asked)


@post("/admin/library/recommend", status_code=200)
async def recommend(request: AnyRequest, state: State) -> Offers:
    librarian: Librarian = state.librarian
    asked = decode(await request.body(), RecommendRequest)
    return await asyncio.to_thread(choose, librarian.search(hub_of(request)), asked.context_length, asked.every)


@post("/admin/library/remove", status_code=200)
async def remove(request: AnyRequest, state: State) -> TrashRow:
    librarian: Librarian = state.librarian
    asked = decode(await request.body(), RemoveRequest)
    await librarian.shelf.catalog.seek(asked.id)
    await asyncio.to_thread(librarian.check_unlinked, asked.id)
    row = await asyncio.to_thread(librarian.remove, asked.id)
    await librarian.shelf.catalog.rescan(urgent=True)
    return row


@get("/admin/library/trash")
async def trash(state: State) -> list[TrashRow]:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.trash.rows)


@post("/admin/library/undo", status_code=200)
async def undo(request: AnyRequest, state: State) -> TrashRow:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.undo, decode(await request.body(), UndoRequest).id)


@post("/admin/library/purge", status_code=200)
async def purge(request: AnyRequest, state: State) -> list[TrashRow]:
    librarian: Librarian = state.librarian
    asked = decode(await request.body(), PurgeRequest)
    return await asyncio.to_thread(lambda: librarian.trash.purge(identity=asked.id))


@get("/admin/library/disk")
async def disk(state: State) -> DiskUse:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.space.use)


@post("/admin/library/prune", status_code=200)
async def prune(request: AnyRequest, state: State) -> PruneReport:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.space.prune, decode(await request.body(), PruneRequest).dry_run)


@get("/admin/library/trust")
async def trusted(state: State) -> list[TrustRow]:
    librarian: Librarian = state.librarian
    return librarian.trusted()


@post("/admin/library/trust", status_code=200)
async def trust(request: AnyRequest, state: State) -> TrustRow:
    librarian: Librarian = state.librarian
    return await asyncio.to_thread(librarian.trust, decode(await request.body(), TrustRequest))


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


async def told(updates: AsyncGenerator[Any]) -> Stream:
    """JSON lines; what is wrong from the start is a status code, and leaving early ends the work."""
    first = await anext(updates)

    async def all_of_it() -> AsyncIterator[bytes]:
        async with aclosing(updates):
            yield line(first)
            async for update in updates:
                yield line(update)

    return lines(all_of_it())
