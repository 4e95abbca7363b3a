"""The admin socket's routes for models, requests, state and logs: one for each method of the client library."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from lmx_daemon.contract.admin.protocol import LoadRequest, LoadUpdate, UnloadRequest
from lmx_daemon.contract.admin.revisions import without_unchanged
from lmx_daemon.contract.admin.snapshot import Health, HostMemory, RequestRow, Revisions, Snapshot, Status
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.requests import Count
from lmx_daemon.contract.generation.requests import Request as ModelRequest
from lmx_daemon.contract.models import Instance, Model, Verdict
from lmx_daemon.http.admin.lines import EventLines, line, lines
from lmx_daemon.http.context import AnyRequest, RequestContext, context_of
from lmx_daemon.http.decoding import body_of
from lmx_daemon.http.service import ModelService
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.monitor.logs import Logs
from lmx_daemon.monitor.snapshot import Monitor
from lmx_daemon.residency.pool import Pool
from lmx_daemon.router.router import Router
from lmx_daemon.settings.paths import Home
from lmx_daemon.storage.benchmark import Report, read_reports

WATCH_SECONDS = 0.5
"""Time between two snapshots by default."""
FASTEST_WATCH_SECONDS = 0.25
SLOWEST_WATCH_SECONDS = 1.0


@get("/admin/health")
async def health(pool: NamedDependency[Pool]) -> Health:
    """Return whether the daemon and its workers make progress."""
    return pool.health()


@get("/admin/status")
async def status(monitor: NamedDependency[Monitor]) -> Status:
    """Return the daemon's own state."""
    return monitor.status()


@get("/admin/memory")
async def memory(monitor: NamedDependency[Monitor]) -> HostMemory:
    """Return the memory of the machine and of the daemon's processes."""
    return monitor.memory()


@get("/admin/snapshot")
async def snapshot(monitor: NamedDependency[Monitor]) -> Snapshot:
    """Return the state of everything that the TUI shows."""
    return monitor.snapshot()


@get("/admin/watch")
async def watch(monitor: NamedDependency[Monitor], every: FromQuery[float] = WATCH_SECONDS) -> Stream:
    """Stream snapshots, one every `every` seconds. The last one is sent when the daemon stops.

    Large arrays are left out of a snapshot if they are the same as in the one before.
    """

    async def snapshots() -> AsyncIterator[bytes]:
        sent: Revisions | None = None
        draining = False
        while not draining:
            draining = monitor.draining
            found = monitor.snapshot()
            yield line(without_unchanged(found, sent))
            sent = found.revisions
            if not draining:
                await asyncio.sleep(min(SLOWEST_WATCH_SECONDS, max(FASTEST_WATCH_SECONDS, every)))

    return lines(snapshots())


@get("/admin/models")
async def models(catalog: NamedDependency[Catalog]) -> list[Model]:
    """Return the installed models."""
    return await catalog.listing()


@get("/admin/instances")
async def instances(pool: NamedDependency[Pool]) -> list[Instance]:
    """Return the models in memory."""
    return pool.instances()


@post("/admin/models/load", status_code=200)
async def load(request: AnyRequest, pool: NamedDependency[Pool], router: NamedDependency[Router]) -> Stream:
    """Load a model; stream its state until it is ready or has failed."""
    load_request = await load_of(request, router)
    updates = pool.load(load_request)
    first = await anext(updates)  # an error before the first update becomes a status code

    async def encoded() -> AsyncIterator[bytes]:
        last = first
        yield line(LoadUpdate(instance=first))
        try:
            async for instance in updates:
                last = instance
                yield line(LoadUpdate(instance=instance))
        except LmxError as error:
            failed = msgspec.structs.replace(last, state="failed", error=error.body())
            yield line(LoadUpdate(instance=failed))

    return lines(encoded())


@post("/admin/models/plan", status_code=200)
async def plan(request: AnyRequest, pool: NamedDependency[Pool], router: NamedDependency[Router]) -> Verdict:
    """Return whether a model could be loaded now, and which models would be evicted."""
    return await pool.verdict(await load_of(request, router))


async def load_of(request: AnyRequest, router: Router) -> LoadRequest:
    """Return the load that a body asks for, of the model that its name means. Raise ModelNotFoundError."""
    asked = await body_of(request, LoadRequest)
    return msgspec.structs.replace(asked, model=(await router.model_to_load(asked.model)).id)


@post("/admin/models/unload", status_code=200)
async def unload(request: AnyRequest, pool: NamedDependency[Pool], router: NamedDependency[Router]) -> list[Instance]:
    """Unload a model; return its instances once they have left."""
    asked = await body_of(request, UnloadRequest)
    return await pool.unload(msgspec.structs.replace(asked, id=router.loaded(asked.id)))


@post("/admin/generate", status_code=200)
async def generate(request: AnyRequest, service: NamedDependency[ModelService]) -> Stream:
    """Stream the events of a generation or a token count."""
    kind: type[ModelRequest] = ModelRequest  # type: ignore[assignment]  # msgspec decodes a union as well
    _, asked = await service.read(request, kind, lambda asked: own(asked, context_of(request)))
    return lines(await service.events(request, asked, EventLines))


def own(asked: ModelRequest, context: RequestContext) -> ModelRequest:
    """Return the request with the tenant and the priority of its principal. The owner's programs name their own."""
    principal = context.principal
    if "admin" in principal.scopes:
        return asked
    if isinstance(asked, Count):
        return msgspec.structs.replace(asked, tenant=principal.tenant)
    priority = principal.priority(asked.priority)
    return msgspec.structs.replace(asked, tenant=principal.tenant, priority=priority, client=context.client, route="")


@get("/admin/requests")
async def requests(pool: NamedDependency[Pool]) -> list[RequestRow]:
    """Return the live requests."""
    return pool.requests.rows()


@post("/admin/requests/{request_id:str}/cancel", status_code=200)
async def cancel(pool: NamedDependency[Pool], request_id: FromPath[str]) -> None:
    """Cancel a request."""
    pool.requests.cancel(request_id)


@get("/admin/logs")
async def read_logs(logs: NamedDependency[Logs], tail: FromQuery[int] = 200, follow: FromQuery[bool] = True) -> Stream:
    """Stream the last `tail` log lines, and all later ones if `follow`. Empty lines keep the connection alive."""

    async def encoded() -> AsyncIterator[bytes]:
        async for found in logs.lines(tail, follow):
            yield b"\n" if found is None else line(found)

    return lines(encoded())


@get("/admin/benchmark", sync_to_thread=True)
def benchmark(home: NamedDependency[Home]) -> list[Report]:
    """Return the reports that `lmx bench` has stored, the oldest first."""
    return read_reports(home.benchmarks)


@post("/admin/shutdown", status_code=202)
async def shutdown(stop: NamedDependency[Callable[[], None]]) -> Response[None]:
    """Begin the shutdown of the daemon. A second call shortens the drain."""
    stop()
    return Response(None, status_code=202)


ROUTES = [
    health,
    status,
    memory,
    snapshot,
    watch,
    models,
    instances,
    load,
    plan,
    unload,
    generate,
    requests,
    cancel,
    read_logs,
    benchmark,
    shutdown,
]
