"""Client: one method for each admin route. The TUI and the command line live on it.

Answers of more than one line (generate, load, watch, logs) are JSON lines, one struct each. How they travel, and what
is raised where they do not, is connection.py's; of how the daemon works it knows nothing.
"""

from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec

from lmx_daemon.client.library_calls import LibraryCalls
from lmx_daemon.contract.errors import error_from
from lmx_daemon.contract.generation import Event, Request
from lmx_daemon.contract.pulls import Download, MovePull, PullLimit, PullRequest
from lmx_daemon.contract.revisions import with_unchanged
from lmx_daemon.contract.types import (
    Health,
    HostMemory,
    Instance,
    LoadRequest,
    LoadUpdate,
    LogLine,
    Model,
    RequestRow,
    Snapshot,
    Status,
    UnloadRequest,
    Verdict,
)
from lmx_daemon.storage.benchmark import Report

UNLOAD_SECONDS = 120.0
SILENCE_SECONDS = 15.0
"""/admin/watch speaks at least once a second; a silence this long means that the daemon is gone."""
SNAPSHOTS = msgspec.json.Decoder(Snapshot)
EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class Client(LibraryCalls):
    """Use as `async with Client(socket) as client`. `transport` replaces the socket in tests."""

    # ---- the daemon ----

    async def health(self) -> Health:
        return await self._get("/admin/health", Health)

    async def status(self) -> Status:
        return await self._get("/admin/status", Status)

    async def memory(self) -> HostMemory:
        return await self._get("/admin/memory", HostMemory)

    async def snapshot(self) -> Snapshot:
        return await self._get("/admin/snapshot", Snapshot)

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Yield whole snapshots, at most 4 a second. Raises DaemonUnreachableError when the daemon is gone.

        An array that has not changed since the last snapshot is the same object.
        """
        last: Snapshot | None = None
        async for line in self._lines("GET", "/admin/watch", read=SILENCE_SECONDS):
            last = with_unchanged(SNAPSHOTS.decode(line), last)
            yield last

    async def logs(self, *, tail: int = 200, follow: bool = True) -> AsyncIterator[LogLine]:
        path = f"/admin/logs?tail={tail}&follow={str(follow).lower()}"
        async for line in self._lines("GET", path):
            yield msgspec.json.decode(line, type=LogLine)

    async def shutdown(self) -> None:
        """Asks the daemon to drain and stop; returns once it has agreed."""
        await self._send("POST", "/admin/shutdown")

    # ---- models ----

    async def models(self) -> list[Model]:
        return await self._get("/admin/models", list[Model])

    async def instances(self) -> list[Instance]:
        return await self._get("/admin/instances", list[Instance])

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        """The instance as it loads; the last one is ready. Raises what made the load fail."""
        async for line in self._lines("POST", "/admin/models/load", request):
            instance = msgspec.json.decode(line, type=LoadUpdate).instance
            if instance.state == "failed" and instance.error is not None:
                raise error_from(instance.error)
            yield instance

    async def plan(self, request: LoadRequest) -> Verdict:
        """What the model would take, and whether it fits; nothing is loaded."""
        return await self._post("/admin/models/plan", Verdict, request)

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        """The instances that were asked to leave and have left."""
        return await self._post("/admin/models/unload", list[Instance], request, seconds=UNLOAD_SECONDS)

    # ---- requests ----

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """The request's events, the terminal one included. Leaving the iterator early cancels the request."""
        async for line in self._lines("POST", "/admin/generate", request):
            yield EVENTS.decode(line)

    async def requests(self) -> list[RequestRow]:
        return await self._get("/admin/requests", list[RequestRow])

    async def cancel(self, request_id: str) -> None:
        await self._send("POST", f"/admin/requests/{quote(request_id, safe='')}/cancel")

    # ---- pulls ----

    async def pull(self, request: PullRequest) -> Download:
        """Puts a pull into the queue, or goes on with the one for the same repository."""
        return await self._post("/admin/pulls", Download, request)

    async def pulls(self) -> list[Download]:
        return await self._get("/admin/pulls", list[Download])

    async def watch_pull(self, job: str) -> AsyncIterator[Download]:
        """The job as it goes on; the last one is paused, done, failed or cancelled."""
        async for line in self._lines("GET", f"/admin/pulls/{quote(job, safe='')}/watch"):
            yield msgspec.json.decode(line, type=Download)

    async def pause_pull(self, job: str) -> Download:
        """Stops a pull until it is resumed; what was fetched is kept."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/pause", Download)

    async def resume_pull(self, job: str) -> Download:
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/resume", Download)

    async def retry_pull(self, job: str) -> Download:
        """One that failed, or is done: what is missing or wrong is fetched."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/retry", Download)

    async def cancel_pull(self, job: str) -> Download:
        """Stops a pull for good; what was fetched and nothing else needs is deleted."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/cancel", Download)

    async def move_pull(self, job: str, position: int) -> list[Download]:
        """To a place in the queue; 0 is the next. The whole list as it is then."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/move", list[Download], MovePull(position=position))

    async def clear_pulls(self) -> list[Download]:
        """Forgets the pulls that have ended; their files stay. The list that is left."""
        return await self._post("/admin/pulls/clear", list[Download])

    async def limit_pulls(self, bytes_per_second: int | None) -> None:
        """A bound over all pulls until the daemon stops; None is no bound."""
        await self._send("POST", "/admin/pulls/limit", PullLimit(bytes_per_second=bytes_per_second))

    # ---- benchmarks ----

    async def benchmarks(self) -> list[Report]:
        """What `lmx bench` has kept, oldest first."""
        return await self._get("/admin/benchmark", list[Report])
