"""The admin socket's routes, one for each method of contract/client.py. Streams are JSON lines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import unquote

import msgspec
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation import Request as Asked
from lmx_daemon.contract.pulls import Download, MovePull, PullLimit, PullRequest
from lmx_daemon.contract.revisions import without_unchanged
from lmx_daemon.contract.types import (
    HUB_HEADER,
    Health,
    HostMemory,
    Instance,
    LoadRequest,
    LoadUpdate,
    Model,
    RequestRow,
    Revisions,
    Snapshot,
    Status,
    UnloadRequest,
    Verdict,
)
from lmx_daemon.http.admin.lines import EventLines, line, lines
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.decoding import decode
from lmx_daemon.http.serving import stream_of
from lmx_daemon.residency.pool import Pool
from lmx_daemon.storage.benchmark import Report, read_reports

WATCH_SECONDS = 0.5
"""Between two snapshots, where the client asks for nothing else."""
FASTEST_WATCH_SECONDS = 0.25


@get("/admin/health")
async def health(state: State) -> Health:
    pool: Pool = state.pool
    return pool.health()


@get("/admin/status")
async def status(state: State) -> Status:
    found: Status = state.monitor.status()
    return found


@get("/admin/memory")
async def memory(state: State) -> HostMemory:
    found: HostMemory = state.monitor.memory()
    return found


@get("/admin/snapshot")
async def snapshot(state: State) -> Snapshot:
    found: Snapshot = state.monitor.snapshot()
    return found


@get("/admin/watch")
async def watch(state: State, every: FromQuery[float] = WATCH_SECONDS) -> Stream:
    async def snapshots() -> AsyncIterator[bytes]:
        sent: Revisions | None = None
        draining = False
        while not draining:
            draining = state.monitor.draining
            found: Snapshot = state.monitor.snapshot()
            yield line(without_unchanged(found, sent))
            sent = found.revisions
            if not draining:
                await asyncio.sleep(min(1.0, max(FASTEST_WATCH_SECONDS, every)))

    return lines(snapshots())


@get("/admin/models")
async def models(state: State) -> list[Model]:
    found: list[Model] = await state.catalog.listing()
    return found


@get("/admin/instances")
async def instances(state: State) -> list[Instance]:
    pool: Pool = state.pool
    return pool.instances()


@post("/admin/models/load", status_code=200)
async def load(request: AnyRequest, state: State) -> Stream:
    asked = decode(await request.body(), LoadRequest)
    pool: Pool = state.pool
    await state.catalog.seek(asked.model)
    updates = pool.load(asked)
    first = await anext(updates)  # what is wrong from the start is a status code

    async def told() -> AsyncIterator[bytes]:
        last = first
        yield line(LoadUpdate(instance=first))
        try:
            async for instance in updates:
                last = instance
                yield line(LoadUpdate(instance=instance))
        except LmxError as error:
            failed = msgspec.structs.replace(last, state="failed", error=error.body())
            yield line(LoadUpdate(instance=failed))

    return lines(told())


@post("/admin/models/plan", status_code=200)
async def plan(request: AnyRequest, state: State) -> Verdict:
    pool: Pool = state.pool
    asked = decode(await request.body(), LoadRequest)
    await state.catalog.seek(asked.model)
    return await pool.verdict(asked)


@post("/admin/models/unload", status_code=200)
async def unload(request: AnyRequest, state: State) -> list[Instance]:
    pool: Pool = state.pool
    return await pool.unload(decode(await request.body(), UnloadRequest))


@post("/admin/generate", status_code=200)
async def generate(request: AnyRequest, state: State) -> Stream:
    asked: Asked = await state.bodies.decoded(request, Asked, lambda asked: asked)  # a union is a type to msgspec
    pool: Pool = state.pool
    await state.catalog.seek(asked.model)
    active = pool.submit(asked)
    return lines(stream_of(pool, active, context_of(request).dialect, EventLines(active.id)))


@get("/admin/requests")
async def requests(state: State) -> list[RequestRow]:
    pool: Pool = state.pool
    return pool.requests.rows()


@post("/admin/requests/{request_id:str}/cancel", status_code=200)
async def cancel(state: State, request_id: FromPath[str]) -> None:
    pool: Pool = state.pool
    pool.requests.cancel(request_id)


@post("/admin/pulls", status_code=200)
async def pull(request: AnyRequest, state: State) -> Download:
    asked = decode(await request.body(), PullRequest)
    asked = msgspec.structs.replace(asked, endpoint=asked.endpoint or hub_of(request))
    found: Download = await state.pulls.start(asked)
    return found


@get("/admin/pulls")
async def pulls(state: State) -> list[Download]:
    found: list[Download] = state.pulls.list()
    return found


@get("/admin/pulls/{job:str}/watch")
async def watch_pull(state: State, job: FromPath[str]) -> Stream:
    state.pulls.get(job)

    async def told() -> AsyncIterator[bytes]:
        async for download in state.pulls.watch(job):
            yield line(download)

    return lines(told())


@post("/admin/pulls/{job:str}/pause", status_code=200)
async def pause_pull(state: State, job: FromPath[str]) -> Download:
    found: Download = await state.pulls.pause(job)
    return found


@post("/admin/pulls/{job:str}/resume", status_code=200)
async def resume_pull(state: State, job: FromPath[str]) -> Download:
    found: Download = await state.pulls.resume(job)
    return found


@post("/admin/pulls/{job:str}/retry", status_code=200)
async def retry_pull(state: State, job: FromPath[str]) -> Download:
    found: Download = await state.pulls.retry(job)
    return found


@post("/admin/pulls/{job:str}/cancel", status_code=200)
async def cancel_pull(state: State, job: FromPath[str]) -> Download:
    found: Download = await state.pulls.cancel(job)
    return found


@post("/admin/pulls/{job:str}/move", status_code=200)
async def move_pull(request: AnyRequest, state: State, job: FromPath[str]) -> list[Download]:
    found: list[Download] = await state.pulls.move(job, decode(await request.body(), MovePull).position)
    return found


@post("/admin/pulls/clear", status_code=200)
async def clear_pulls(state: State) -> list[Download]:
    found: list[Download] = await state.pulls.clear()
    return found


@post("/admin/pulls/limit", status_code=200)
async def limit_pulls(request: AnyRequest, state: State) -> None:
    state.pulls.limit(decode(await request.body(), PullLimit).bytes_per_second)


@get("/admin/logs")
async def logs(state: State, tail: FromQuery[int] = 200, follow: FromQuery[bool] = True) -> Stream:
    async def told() -> AsyncIterator[bytes]:
        async for found in state.logs.lines(tail, follow):
            yield b"\n" if found is None else line(found)

    return lines(told())


@get("/admin/benchmark", sync_to_thread=True)
def benchmark(state: State) -> list[Report]:
    """What `lmx bench` has kept, oldest first."""
    return read_reports(state.home.benchmarks)


@post("/admin/shutdown", status_code=202)
async def shutdown(state: State) -> Response[None]:
    stop: Callable[[], None] = state.stop
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
    pull,
    pulls,
    watch_pull,
    pause_pull,
    resume_pull,
    retry_pull,
    cancel_pull,
    move_pull,
    clear_pulls,
    limit_pulls,
    logs,
    benchmark,
    shutdown,
]


def hub_of(request: AnyRequest) -> str | None:
    """As the caller's environment names it; None leaves it to the daemon."""
    return unquote(request.headers.get(HUB_HEADER, "")) or None
