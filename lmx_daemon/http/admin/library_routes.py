"""The admin socket's routes for the library, one for each method of the client library.

Model ids contain slashes, so they travel in bodies and queries, never in paths.
"""

import asyncio

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream

from lmx_daemon.contract.admin.library.disk import (
    DiskUse,
    PruneReport,
    PruneRequest,
    PurgeRequest,
    RemoveRequest,
    TrashRow,
    UndoRequest,
)
from lmx_daemon.contract.admin.library.files import Details, ImportRequest, TrustRequest, TrustRow, VerifyRequest
from lmx_daemon.contract.admin.library.hub import (
    CardRequest,
    ModelCard,
    Offers,
    Outdated,
    RecommendRequest,
    SearchRequest,
    UpdateRequest,
)
from lmx_daemon.contract.admin.library.move import MovePlan, MoveRequest
from lmx_daemon.http.admin.lines import lines_of
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import body_of, hub_of
from lmx_daemon.library.cards import hub_card, local_card
from lmx_daemon.library.hub.recommend import recommend as choose
from lmx_daemon.library.library import Library


@get("/admin/library/model")
async def details(library: NamedDependency[Library], id: FromQuery[str]) -> Details:
    model = await library.registry.catalog.seek_part(id)
    return await asyncio.to_thread(library.details, model.id)


@post("/admin/library/card", status_code=200)
async def card(request: AnyRequest, library: NamedDependency[Library]) -> ModelCard:
    asked = await body_of(request, CardRequest)
    if asked.hub:
        return await asyncio.to_thread(hub_card, library.hub(hub_of(request)), library.responses, asked.id)
    return await asyncio.to_thread(local_card, await library.registry.catalog.seek_part(asked.id))


@post("/admin/library/verify", status_code=200)
async def verify(request: AnyRequest, library: NamedDependency[Library]) -> Stream:
    return await lines_of(library.verifier.verify((await body_of(request, VerifyRequest)), hub_of(request)))


@post("/admin/library/import", status_code=200)
async def bring(request: AnyRequest, library: NamedDependency[Library]) -> Stream:
    return await lines_of(library.imports.add(await body_of(request, ImportRequest)))


@post("/admin/library/update", status_code=200)
async def update(request: AnyRequest, library: NamedDependency[Library]) -> Stream:
    return await lines_of(library.updates.update((await body_of(request, UpdateRequest)).id, hub_of(request)))


@post("/admin/library/outdated", status_code=200)
async def outdated(request: AnyRequest, library: NamedDependency[Library]) -> Outdated:
    return await asyncio.to_thread(library.updates.check, library.hub(hub_of(request)))


@post("/admin/library/search", status_code=200)
async def search(request: AnyRequest, library: NamedDependency[Library]) -> Offers:
    asked = await body_of(request, SearchRequest)
    return await asyncio.to_thread(library.search(hub_of(request)).search, asked)


@post("/admin/library/recommend", status_code=200)
async def recommend(request: AnyRequest, library: NamedDependency[Library]) -> Offers:
    asked = await body_of(request, RecommendRequest)
    search = library.search(hub_of(request))
    return await asyncio.to_thread(choose, search, asked.context_length, asked.every, asked.ask_hub)


@post("/admin/library/remove", status_code=200)
async def remove(request: AnyRequest, library: NamedDependency[Library]) -> TrashRow:
    model = await library.registry.catalog.seek_part((await body_of(request, RemoveRequest)).id)
    await asyncio.to_thread(library.check_removal, model.id)
    row = await asyncio.to_thread(library.remove, model.id)
    await library.registry.catalog.rescan(urgent=True)
    return row


@post("/admin/library/removal", status_code=200)
async def removal(request: AnyRequest, library: NamedDependency[Library]) -> Details:
    """Return the details of a model that may be removed now. Raise what its removal would raise."""
    model = await library.registry.catalog.seek_part((await body_of(request, RemoveRequest)).id)
    await asyncio.to_thread(library.check_removal, model.id)
    return await asyncio.to_thread(library.details, model.id)


@get("/admin/library/trash")
async def trash(library: NamedDependency[Library]) -> list[TrashRow]:
    return await asyncio.to_thread(library.trash.rows)


@post("/admin/library/undo", status_code=200)
async def undo(request: AnyRequest, library: NamedDependency[Library]) -> TrashRow:
    return await asyncio.to_thread(library.undo, (await body_of(request, UndoRequest)).id)


@post("/admin/library/purge", status_code=200)
async def purge(request: AnyRequest, library: NamedDependency[Library]) -> list[TrashRow]:
    asked = await body_of(request, PurgeRequest)
    return await asyncio.to_thread(lambda: library.trash.purge(identity=asked.id))


@get("/admin/library/disk")
async def disk(library: NamedDependency[Library]) -> DiskUse:
    return await asyncio.to_thread(library.space.use)


@post("/admin/library/prune", status_code=200)
async def prune(request: AnyRequest, library: NamedDependency[Library]) -> PruneReport:
    return await asyncio.to_thread(library.space.prune, (await body_of(request, PruneRequest)).dry_run)


@post("/admin/library/move/plan", status_code=200)
async def move_plan(request: AnyRequest, library: NamedDependency[Library]) -> MovePlan:
    return await asyncio.to_thread(library.move.plan, (await body_of(request, MoveRequest)).path)


@post("/admin/library/move/copy", status_code=200)
async def move_copy(request: AnyRequest, library: NamedDependency[Library]) -> Stream:
    return await lines_of(library.move.copy((await body_of(request, MoveRequest)).path))


@post("/admin/library/move/finish", status_code=200)
async def move_finish(request: AnyRequest, library: NamedDependency[Library]) -> Stream:
    return await lines_of(library.move.finish((await body_of(request, MoveRequest)).path))


@get("/admin/library/trust")
async def trusted(library: NamedDependency[Library]) -> list[TrustRow]:
    return library.trusted()


@post("/admin/library/trust", status_code=200)
async def trust(request: AnyRequest, library: NamedDependency[Library]) -> TrustRow:
    return await asyncio.to_thread(library.trust, (await body_of(request, TrustRequest)))


ROUTES = [
    details,
    card,
    verify,
    bring,
    update,
    outdated,
    search,
    recommend,
    remove,
    removal,
    trash,
    undo,
    purge,
    disk,
    prune,
    move_plan,
    move_copy,
    move_finish,
    trusted,
    trust,
]
