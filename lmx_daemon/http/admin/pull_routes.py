"""The admin socket's routes for downloads."""

from collections.abc import AsyncIterator

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from lmx_daemon.contract.admin.library.pulls import Download, LimitState, MovePull, PullLimit, PullRequest
from lmx_daemon.http.admin.lines import line, lines
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import body_of, hub_of
from lmx_daemon.library.pull.pull_queue import PullQueue

Pulls = NamedDependency[PullQueue]


@post("/admin/pulls", status_code=200)
async def pull(request: AnyRequest, pulls: Pulls) -> Download:
    """Queue a download."""
    given = await body_of(request, PullRequest)
    return await pulls.start(msgspec.structs.replace(given, endpoint=given.endpoint or hub_of(request)))


@get("/admin/pulls")
async def list_pulls(pulls: Pulls) -> list[Download]:
    """Return all downloads."""
    return pulls.list()


@get("/admin/pulls/{job:str}/watch")
async def watch_pull(pulls: Pulls, job: FromPath[str]) -> Stream:
    """Stream the progress of a download until it ends."""
    pulls.get(job)

    async def encoded() -> AsyncIterator[bytes]:
        async for download in pulls.watch(job):
            yield line(download)

    return lines(encoded())


@post("/admin/pulls/{job:str}/pause", status_code=200)
async def pause_pull(pulls: Pulls, job: FromPath[str]) -> Download:
    """Pause a download. What has arrived is kept."""
    return await pulls.pause(job)


@post("/admin/pulls/{job:str}/resume", status_code=200)
async def resume_pull(pulls: Pulls, job: FromPath[str]) -> Download:
    """Continue a paused download."""
    return await pulls.resume(job)


@post("/admin/pulls/{job:str}/retry", status_code=200)
async def retry_pull(pulls: Pulls, job: FromPath[str]) -> Download:
    """Try a failed download again."""
    return await pulls.retry(job)


@post("/admin/pulls/{job:str}/cancel", status_code=200)
async def cancel_pull(pulls: Pulls, job: FromPath[str]) -> Download:
    """Cancel a download and delete what has arrived."""
    return await pulls.cancel(job)


@post("/admin/pulls/{job:str}/move", status_code=200)
async def move_pull(request: AnyRequest, pulls: Pulls, job: FromPath[str]) -> list[Download]:
    """Move a waiting download to another position of the queue."""
    return await pulls.move(job, (await body_of(request, MovePull)).position)


@post("/admin/pulls/clear", status_code=200)
async def clear_pulls(pulls: Pulls) -> list[Download]:
    """Forget the downloads that have ended."""
    return await pulls.clear()


@post("/admin/pulls/limit", status_code=200)
async def limit_pulls(request: AnyRequest, pulls: Pulls) -> LimitState:
    """Set the bound on the rate of all downloads together, and return the one in force."""
    asked = await body_of(request, PullLimit)
    pulls.limit.follow_settings() if asked.settings else pulls.limit.set(asked.bytes_per_second)
    return pulls.limit.state()


@get("/admin/pulls/limit")
async def show_limit(pulls: Pulls) -> LimitState:
    """Return the bound on the rate of all downloads together."""
    return pulls.limit.state()


ROUTES = [
    pull,
    list_pulls,
    watch_pull,
    pause_pull,
    resume_pull,
    retry_pull,
    cancel_pull,
    move_pull,
    clear_pulls,
    limit_pulls,
    show_limit,
]
