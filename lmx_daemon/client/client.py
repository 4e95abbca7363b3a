"""The client library of the admin socket: one method for each route. The TUI and the command line use it.

Answers of more than one line (generate, load, watch, logs) are JSON lines with one struct each. connection.py owns the
transport and its errors. This module does not know how the daemon works.
"""

import os
from collections.abc import AsyncIterator
from typing import Self
from urllib.parse import quote

import msgspec

from lmx_daemon.client.chat_calls import ChatCalls
from lmx_daemon.client.config_calls import ConfigCalls
from lmx_daemon.client.history_calls import HistoryCalls
from lmx_daemon.client.key_calls import KeyCalls
from lmx_daemon.client.library_calls import LibraryCalls
from lmx_daemon.client.remote import remote_of
from lmx_daemon.client.router_calls import RouterCalls
from lmx_daemon.contract.admin.library.pulls import Download, LimitState, MovePull, PullLimit, PullRequest
from lmx_daemon.contract.admin.protocol import LoadRequest, LoadUpdate, UnloadRequest
from lmx_daemon.contract.admin.revisions import with_unchanged
from lmx_daemon.contract.admin.snapshot import Health, HostMemory, LogLine, RequestRow, Snapshot, Status
from lmx_daemon.contract.errors import error_from
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.models import Instance, Model, Verdict
from lmx_daemon.settings.paths import Home
from lmx_daemon.storage.benchmark import Report

UNLOAD_SECONDS = 120.0
SILENCE_SECONDS = 15.0
"""Read timeout of /admin/watch, which sends a line at least once a second."""
SNAPSHOTS = msgspec.json.Decoder(Snapshot)
EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class Client(LibraryCalls, RouterCalls, HistoryCalls, ConfigCalls, KeyCalls, ChatCalls):
    """Client of one daemon, used as `async with Client(socket) as client`."""

    @classmethod
    def of(cls, home: Home) -> Self:
        """Return a client of the daemon that LMX_HOST names, else of the one of `home`. Raise ConfigError."""
        return cls(remote_of(os.environ) or home.socket)

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
        """Request the daemon to drain and stop, and return when it has accepted."""
        await self._send("POST", "/admin/shutdown")

    # ---- models ----

    async def models(self) -> list[Model]:
        return await self._get("/admin/models", list[Model])

    async def instances(self) -> list[Instance]:
        return await self._get("/admin/instances", list[Instance])

    async def load(self, request: LoadRequest) -> AsyncIterator[Instance]:
        """Yield the instance while it loads; the last one is ready. Raises the error of a failed load."""
        async for line in self._lines("POST", "/admin/models/load", request):
            instance = msgspec.json.decode(line, type=LoadUpdate).instance
            if instance.state == "failed" and instance.error is not None:
                raise error_from(instance.error)
            yield instance

    async def plan(self, request: LoadRequest) -> Verdict:
        """Return the memory that the model needs and whether it fits, without loading it."""
        return await self._post("/admin/models/plan", Verdict, request)

    async def unload(self, request: UnloadRequest) -> list[Instance]:
        """Unload instances, and return those that have ended."""
        return await self._post("/admin/models/unload", list[Instance], request, seconds=UNLOAD_SECONDS)

    # ---- requests ----

    async def generate(self, request: Request) -> AsyncIterator[Event]:
        """Yield the events of the request, the terminal one included. Closing the iterator early cancels it."""
        async for line in self._lines("POST", "/admin/generate", request):
            yield EVENTS.decode(line)

    async def requests(self) -> list[RequestRow]:
        return await self._get("/admin/requests", list[RequestRow])

    async def cancel(self, request_id: str) -> None:
        await self._send("POST", f"/admin/requests/{quote(request_id, safe='')}/cancel")

    # ---- pulls ----

    async def pull(self, request: PullRequest) -> Download:
        """Queue a pull, or resume the existing one of the same repository."""
        return await self._post("/admin/pulls", Download, request)

    async def pulls(self) -> list[Download]:
        return await self._get("/admin/pulls", list[Download])

    async def watch_pull(self, job: str) -> AsyncIterator[Download]:
        """Yield the state of a pull while it changes; the last one is paused, done, failed or cancelled."""
        async for line in self._lines("GET", f"/admin/pulls/{quote(job, safe='')}/watch"):
            yield msgspec.json.decode(line, type=Download)

    async def pause_pull(self, job: str) -> Download:
        """Pause a pull. Downloaded bytes are kept."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/pause", Download)

    async def resume_pull(self, job: str) -> Download:
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/resume", Download)

    async def retry_pull(self, job: str) -> Download:
        """Run a failed or finished pull again, which downloads missing and faulty files."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/retry", Download)

    async def cancel_pull(self, job: str) -> Download:
        """Cancel a pull, and delete downloaded bytes that nothing else needs."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/cancel", Download)

    async def move_pull(self, job: str, position: int) -> list[Download]:
        """Move a pull to a position in the queue, 0 is the next, and return the new list."""
        return await self._post(f"/admin/pulls/{quote(job, safe='')}/move", list[Download], MovePull(position=position))

    async def clear_pulls(self) -> list[Download]:
        """Remove ended pulls from the list, and return the rest. Their files are kept."""
        return await self._post("/admin/pulls/clear", list[Download])

    async def limit_pulls(self, limit: PullLimit) -> LimitState:
        """Limit the rate of all pulls together until the daemon stops, and return the limit in force."""
        return await self._post("/admin/pulls/limit", LimitState, limit)

    async def pull_limit(self) -> LimitState:
        """Return the limit on the rate of all pulls together."""
        return await self._get("/admin/pulls/limit", LimitState)

    # ---- benchmarks ----

    async def benchmarks(self) -> list[Report]:
        """Return the stored reports of `lmx bench`, oldest first."""
        return await self._get("/admin/benchmark", list[Report])
