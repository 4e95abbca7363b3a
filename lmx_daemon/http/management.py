"""Management of models for the routes of dialects: load, unload, download, copy and remove.

Downloads need a principal with the scope "pull", copies and removals one with "manage". The admin socket has its own
routes for all of this.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from litestar.di import NamedDependency

from lmx_daemon.contract.admin.library.files import Details
from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.models import Instance
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.library.library import Library
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.residency.pool import Pool
from lmx_daemon.router.router import Router


class ModelManagement:
    """Management of models, as dialects call it."""

    def __init__(self, pool: Pool, library: Library, pulls: PullQueue, router: Router) -> None:
        self._pool, self._library, self._pulls, self._router = pool, library, pulls, router

    async def load(self, request: AnyRequest, load: LoadRequest) -> AsyncIterator[Instance]:
        """Yield the instance as it loads; the last one is ready. Raise the error of a load that fails."""
        principal = context_of(request).principal
        principal.require("infer")
        model = await self._router.model_to_load(load.model, principal)
        async for instance in self._pool.load(msgspec.structs.replace(load, model=model.id)):
            yield instance

    async def unload(self, request: AnyRequest, name: str) -> list[Instance]:
        """Unload an instance by its id, or all instances of the model that a name means.

        Raise NotFoundError if none is loaded.
        """
        principal = context_of(request).principal
        principal.require("infer")
        instance = self._router.loaded(name, principal)
        return await self._pool.unload(UnloadRequest(id=instance))

    async def pull(self, request: AnyRequest, name: str) -> Download:
        """Queue the download of a repository, or return its download that is already queued."""
        principal = context_of(request).principal
        principal.require("pull")
        if not principal.allows(name):
            raise principal.no_model(name)
        return await self._pulls.start(PullRequest(repo=name))

    def watch(self, request: AnyRequest, job: str) -> AsyncIterator[Download]:
        """Yield a download when it changes, until it ends. Raise JobNotFoundError.

        The model of a completed download is listed before its last state is yielded.
        """
        self.download(request, job)
        return self._states(job)

    async def _states(self, job: str) -> AsyncIterator[Download]:
        async for download in self._pulls.watch(job):
            if download.state == "done":
                await self._library.registry.catalog.rescan(urgent=True)
            yield download

    def download(self, request: AnyRequest, job: str) -> Download:
        """Return the state of a download. Raise JobNotFoundError."""
        principal = context_of(request).principal
        principal.require("pull")
        found = self._pulls.get(job)
        if not principal.allows(found.repo):
            raise principal.no_model(found.repo)
        return found

    async def details(self, request: AnyRequest, name: str) -> Details:
        """Return the details of the model that a name means. Raise ModelNotFoundError."""
        principal = context_of(request).principal
        principal.require("infer")
        model = await self._router.find(name, principal)
        return await asyncio.to_thread(self._library.details, model.id)

    async def copy(self, request: AnyRequest, source: str, name: str) -> None:
        """Make an alias of the model that `source` means. Raise ModelNotFoundError, ConflictError, RequestError."""
        principal = context_of(request).principal
        principal.require("manage")
        model = await self._router.find(source, principal)
        if self._router.is_alias(name):
            self._require_alias(name, principal)
        await self._router.set_alias(name, (model.id,))

    async def remove(self, request: AnyRequest, name: str) -> None:
        """Remove an alias, or move a model to the trash; `lmx rm --undo` restores it.

        The removal of an alias never removes its model. Raise ModelNotFoundError, ConflictError.
        """
        principal = context_of(request).principal
        principal.require("manage")
        if self._router.is_alias(name):
            self._require_alias(name, principal)
            await self._router.names.remove_alias(name)
            return
        if not principal.allows(name):
            raise principal.no_model(name)
        catalog = self._library.registry.catalog
        await catalog.seek(name)
        await asyncio.to_thread(self._library.check_removal, name)
        await asyncio.to_thread(self._library.remove, name)
        await catalog.rescan(urgent=True)

    def _require_alias(self, name: str, principal: Principal) -> None:
        """Raise ModelNotFoundError for an alias of models that the principal may not use."""
        if principal.models and not any(row.name == name and row.model for row in self._router.aliases(principal)):
            raise principal.no_model(name)


Management = NamedDependency[ModelManagement]
"""Type of the argument by which a route receives it."""
