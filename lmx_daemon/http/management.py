"""Management of models for the routes of dialects: load, unload, download and remove.

Downloads and removals need a principal with the scope "manage". The admin socket has its own routes for all of this.
"""

import asyncio
from collections.abc import AsyncIterator

from litestar.di import NamedDependency

from lmx_daemon.contract.admin.library import Details
from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.admin.pulls import Download, PullRequest
from lmx_daemon.contract.models import Instance
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.library.library import Library
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.residency.pool import Pool


class ModelManagement:
    """Management of models, as dialects call it."""

    def __init__(self, pool: Pool, library: Library, pulls: PullQueue) -> None:
        self._pool, self._library, self._pulls = pool, library, pulls

    async def load(self, request: AnyRequest, load: LoadRequest) -> AsyncIterator[Instance]:
        """Yield the instance as it loads; the last one is ready. Raise the error of a load that fails."""
        context_of(request).principal.require("generate")
        await self._library.registry.catalog.seek(load.model)
        async for instance in self._pool.load(load):
            yield instance

    async def unload(self, request: AnyRequest, name: str) -> list[Instance]:
        """Unload an instance by its id, or all instances of a model. Raise NotFoundError if none is loaded."""
        context_of(request).principal.require("generate")
        return await self._pool.unload(UnloadRequest(id=name))

    async def pull(self, request: AnyRequest, name: str) -> Download:
        """Queue the download of a repository, or return its download that is already queued."""
        context_of(request).principal.require("manage")
        return await self._pulls.start(PullRequest(repo=name))

    def watch(self, request: AnyRequest, job: str) -> AsyncIterator[Download]:
        """Yield a download when it changes, until it ends. Raise JobNotFoundError.

        The model of a completed download is listed before its last state is yielded.
        """
        context_of(request).principal.require("manage")
        self._pulls.get(job)
        return self._states(job)

    async def _states(self, job: str) -> AsyncIterator[Download]:
        async for download in self._pulls.watch(job):
            if download.state == "done":
                await self._library.registry.catalog.rescan(urgent=True)
            yield download

    def download(self, request: AnyRequest, job: str) -> Download:
        """Return the state of a download. Raise JobNotFoundError."""
        context_of(request).principal.require("manage")
        return self._pulls.get(job)

    async def details(self, request: AnyRequest, name: str) -> Details:
        """Return the details of a model. Raise ModelNotFoundError."""
        context_of(request).principal.require("generate")
        await self._library.registry.catalog.seek(name)
        return await asyncio.to_thread(self._library.details, name)

    async def remove(self, request: AnyRequest, name: str) -> None:
        """Move a model to the trash; `lmx rm --undo` restores it. Raise ModelNotFoundError, ConflictError."""
        context_of(request).principal.require("manage")
        catalog = self._library.registry.catalog
        await catalog.seek(name)
        await asyncio.to_thread(self._library.check_unlinked, name)
        await asyncio.to_thread(self._library.remove, name)
        await catalog.rescan(urgent=True)


Management = NamedDependency[ModelManagement]
"""Type of the argument by which a route receives it."""
