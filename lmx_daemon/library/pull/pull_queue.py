"""The queue of pulls: the commands of users, each recorded on the disk before it is acknowledged.

decisions.py decides which pulls run, pull_runner.py runs them in threads, records.py stores the requests. All of
this runs on the daemon's event loop.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS, Download, PullRequest
from lmx_daemon.contract.errors import DiskError
from lmx_daemon.library.hub.addresses import checked_endpoint, without_credentials
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.hub.names import checked_revision, parse_reference
from lmx_daemon.library.pull import decisions
from lmx_daemon.library.pull.pull_run import FreeSpace, free_space
from lmx_daemon.library.pull.pull_runner import PullRunner
from lmx_daemon.library.pull.rate_limit import RateLimit
from lmx_daemon.library.pull.records import JobState, PullRecord, PullRecords, in_order
from lmx_daemon.settings.schema import LibrarySettings

POLL_SECONDS = 0.15
"""Interval at which a watcher looks for changes."""
REPEAT_SECONDS = 1.0
"""Interval at which a watcher repeats an unchanged state."""
PIN_KEPT = frozenset({"hub_error", "disk_error"})
"""Codes of errors after which a retry continues with the same commit. After others it asks the Hub for the newest."""
ORDER: dict[JobState, int] = {"run": 0, "pause": 1, "failed": 2, "done": 3, "cancelled": 3}
"""Order of the states in the list."""
Downloads = list[Download]


class PullQueue:
    """The queue. `open()` must be called once the loop runs; pulls of an earlier daemon continue then.

    `folder` holds the records. `free` returns the free bytes on a disk, and `check_disk` raises DiskError if the disk
    of the cache is not mounted.
    """

    def __init__(
        self,
        settings: Callable[[], LibrarySettings],
        environ: Mapping[str, str],
        folder: Path,
        free: FreeSpace = free_space,
        check_disk: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._records = PullRecords(folder)
        self._runner = PullRunner(settings, environ, self._records, free, check_disk)
        self._starting = asyncio.Lock()

    def open(self) -> None:
        """Continue the pulls of an earlier daemon."""
        self._runner.open()

    async def close(self) -> None:
        """Stop all pulls within a limit. The next daemon continues them."""
        await self._runner.close()
        self._records.close()

    # ---- commands ----

    async def start(self, request: PullRequest) -> Download:
        """Add a pull, or continue the unfinished pull of the same files. Raises RequestError, DiskError."""
        endpoint = checked_endpoint(request.endpoint) or self._settings().endpoint
        repo, pasted = parse_reference(request.repo, Hub(endpoint, self._environ).endpoint)
        wanted = PullRecord(
            id=uuid.uuid4().hex[:12],
            repo=repo,
            revision=checked_revision(request.revision) or pasted,
            include=request.include,
            exclude=request.exclude,
            endpoint=endpoint and without_credentials(endpoint),
            state="pause" if request.paused else "run",
            rank=decisions.next_rank(self._records),
            added_at=time.time(),
        )
        async with self._starting:  # a second request for the same files is answered once the first is on the disk
            return await self._start(wanted, request.token, endpoint)

    async def pause(self, identity: str) -> Download:
        """Stop a pull until it is resumed. The fetched bytes are kept."""
        record = self._records[identity]
        decisions.check(record, "pause")
        await self._records.keep(msgspec.structs.replace(record, state="pause"))
        await self._runner.stop(identity)
        self._runner.start_next()
        return self.get(identity)

    async def resume(self, identity: str) -> Download:
        """Continue a paused or failed pull."""
        record = self._records[identity]
        decisions.check(record, "resume")
        return await self._continue(record)

    async def retry(self, identity: str) -> Download:
        """Run a pull again, also a completed one: missing and changed files are fetched."""
        record = self._records[identity]
        decisions.check(record, "retry")
        return await self._continue(record)

    async def cancel(self, identity: str) -> Download:
        """Stop a pull for good, and delete what only it has fetched."""
        record = self._records[identity]
        decisions.check(record, "cancel")
        if record.state != "cancelled":
            cancelled = msgspec.structs.replace(record, state="cancelled", ended_at=time.time())
            self._records.note(cancelled)
            with suppress(DiskError):  # a full disk must not prevent the deletion, which also deletes the record
                await self._records.write(cancelled)
            if self._runner.is_running(identity):
                await self._runner.stop(identity)
            else:
                await self._runner.discard(cancelled)
        self._runner.start_next()
        return self.get(identity)

    async def move(self, identity: str, position: int) -> Downloads:
        """Move a waiting or paused pull to `position` in the queue, and return the list."""
        decisions.check(self._records[identity], "move")
        changed = decisions.moved(list(self._records), self._runner.running, identity, position)
        for record in changed:
            self._records.note(record)
        for record in changed:  # written in its latest state: it may have started or ended meanwhile
            if record.id in self._records:
                await self._records.write(self._records[record.id])
        return self.list()

    async def clear(self) -> Downloads:
        """Forget the pulls that have ended, and return the list. Their files stay."""
        await self._runner.forget([record.id for record in self._records])
        return self.list()

    @property
    def limit(self) -> RateLimit:
        """The limit on the rate of all pulls together."""
        return self._runner.limit

    # ---- state ----

    def busy(self) -> bool:
        """Return whether a pull runs."""
        return bool(self._runner.running)

    def list(self) -> Downloads:
        """Return the running pulls, then the queue in its order, then the ended ones."""
        ordered = in_order(self._records)
        ordered.sort(key=lambda record: (not self._runner.is_running(record.id), ORDER[record.state]))
        return [self._runner.download(record) for record in ordered]

    def get(self, identity: str) -> Download:
        """Return one pull. Raises JobNotFoundError."""
        return self._runner.download(self._records[identity])

    async def watch(self, identity: str) -> AsyncIterator[Download]:
        """Yield a pull when it changes; the last one is paused, done, failed or cancelled."""
        download = self.get(identity)
        yield download
        at = time.monotonic()
        while download.state not in DOWNLOAD_ENDS:
            await asyncio.sleep(POLL_SECONDS)
            now = self.get(identity)
            if now != download or time.monotonic() - at > REPEAT_SECONDS:
                download, at = now, time.monotonic()
                yield download

    async def _start(self, wanted: PullRecord, token: str | None, endpoint: str | None) -> Download:
        known = decisions.same_as(self._records, wanted)
        identity = wanted.id if known is None else known.id
        self._runner.expect(identity, token, endpoint)
        if known is None:
            await self._records.keep(wanted)
            self._runner.start_next()
        elif wanted.state == "run" and known.state != "run":
            await self._continue(msgspec.structs.replace(known, endpoint=wanted.endpoint))
        return self.get(identity)

    async def _continue(self, record: PullRecord) -> Download:
        pinned = record.state in ("run", "pause") or (record.error is not None and record.error.code in PIN_KEPT)
        again = msgspec.structs.replace(
            record, state="run", error=None, ended_at=None, manifest=record.manifest if pinned else None
        )
        self._runner.expect(record.id)
        await self._records.keep(again)
        self._runner.start_next()
        return self.get(record.id)
