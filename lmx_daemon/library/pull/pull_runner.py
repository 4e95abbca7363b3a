"""The running pulls: one thread for each, their ends, and the deletion of what cancelled pulls have fetched.

The event loop owns everything here; a thread is read through its PullProgress.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import CancelledError, DiskError, LmxError
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.hub.addresses import completed_address
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.pull import decisions
from lmx_daemon.library.pull.progress import PullProgress
from lmx_daemon.library.pull.pull_run import FreeSpace, PullOutcome, PullRun, PullSpec
from lmx_daemon.library.pull.rate_limit import RateLimit
from lmx_daemon.library.pull.records import (
    DOWNLOAD_STATES,
    JobState,
    PullRecord,
    PullRecords,
    download_of,
    idle_download,
)
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from lmx_daemon.library.pull.throttle import Throttle
from lmx_daemon.library.verify.manifest import Manifest
from lmx_daemon.settings.paths import hub_cache
from lmx_daemon.settings.schema import LibrarySettings

STOP_SECONDS = 8.0
"""Longest wait for a thread to stop. A thread stops earlier, unless it waits for a name server."""
CLOSE_SECONDS = 10.0
"""Longest time that the daemon's shutdown waits for pulls and for the deletion of cancelled ones."""
NUDGE_SECONDS = 0.2
"""Interval at which a thread is asked again to stop."""
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")
LOGGER = logging.getLogger("lmx.pulls")


@dataclass(frozen=True)
class ActivePull:
    """Pull whose thread runs."""

    run: PullRun
    progress: PullProgress
    task: "asyncio.Task[None]"


class PullRunner:
    """The threads of pulls. `free` returns the free bytes on a disk."""

    def __init__(
        self,
        settings: Callable[[], LibrarySettings],
        environ: Mapping[str, str],
        records: PullRecords,
        free: FreeSpace,
        check_disk: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._cache = hub_cache(environ, settings().cache)
        self._records = records
        self._free = free
        self._check_disk = check_disk
        self.limit = RateLimit(settings)
        self._throttle = Throttle(self.limit.rate)
        self.running: dict[str, ActivePull] = {}
        self._tokens: dict[str, str] = {}
        """Tokens given for single pulls, kept in memory only."""
        self._endpoints: dict[str, str] = {}
        """Addresses of Hubs for single pulls, in memory only because they may contain a password."""
        self._awaited: set[str] = set()
        """Pulls that a user has just requested, and whose first failure is reported at once."""
        self._discards: list[asyncio.Task[None]] = []
        self._closing = False

    def open(self) -> None:
        """Start the next pulls, and finish the cancellations of an earlier daemon."""
        for record in self._records:
            if record.state == "cancelled":
                self._discards.append(asyncio.create_task(self.discard(record)))
        self.start_next()

    async def close(self) -> None:
        """Stop all pulls within CLOSE_SECONDS.

        A thread that waits for a disk is left behind: a disk that does not answer must not delay the daemon's end.
        """
        self._closing = True
        stops = [asyncio.create_task(self.stop(identity)) for identity in list(self.running)]
        if tasks := [*self._discards, *stops]:
            _, pending = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in pending:
                task.cancel()

    def is_running(self, identity: str) -> bool:
        """Return whether a pull has a thread."""
        return identity in self.running

    def expect(self, identity: str, token: str | None = None, endpoint: str | None = None) -> None:
        """Record that a user waits for the first result of a pull, and the token and the address for it."""
        if token:
            self._tokens[identity] = token
        if endpoint:
            self._endpoints[identity] = endpoint
        self._awaited.add(identity)

    def start_next(self) -> None:
        """Start the pulls whose turn it is."""
        if self._closing:
            return
        for identity in decisions.to_start(list(self._records), self.running, self._settings().pulls_at_once):
            self._start(self._records[identity])

    async def stop(self, identity: str) -> None:
        """Stop a pull's thread, within STOP_SECONDS. Its new state is already recorded."""
        active = self.running.get(identity)
        deadline = time.monotonic() + STOP_SECONDS
        while active is not None and not active.task.done() and time.monotonic() < deadline:
            active.run.stop()
            await asyncio.wait([active.task], timeout=NUDGE_SECONDS)

    async def discard(self, record: PullRecord) -> None:
        """Delete the fetched files of a cancelled pull, and its record on the disk. In memory it stays in the list."""
        if record.manifest is not None:
            freed = await asyncio.to_thread(self._discard_files, record)
            LOGGER.info("%s: %d bytes deleted", record.repo, freed)
        if record.id not in self._records or self._records[record.id].state != "cancelled":
            return  # the pull was requested again meanwhile
        self._records.note(msgspec.structs.replace(self._records[record.id], manifest=None))
        try:
            await self._records.erase(record.id)
        except LmxError as error:  # the next daemon finds the record, and tries again
            LOGGER.warning("%s: its record was not deleted: %s", record.repo, error.message)

    async def forget(self, identities: Iterable[str]) -> None:
        """Forget those of the pulls that have ended, judged when each one's turn comes. Raises DiskError."""
        for identity in identities:
            if identity in self.running or identity not in self._records:
                continue
            if self._records[identity].state in ENDED:
                self._tokens.pop(identity, None)
                self._endpoints.pop(identity, None)
                self._awaited.discard(identity)
                await self._records.forget(identity)

    def download(self, record: PullRecord) -> Download:
        """Return a pull for display."""
        active = self.running.get(record.id)
        if active is not None:
            download = active.progress.download(download_of(record), record.manifest)
            if record.state == "run":
                return download
            return msgspec.structs.replace(download, state=DOWNLOAD_STATES[record.state], rate=0.0, eta=None)
        waiting = decisions.waiting(list(self._records), self.running)
        return idle_download(record, waiting.index(record.id) if record.id in waiting else None)

    def _start(self, record: PullRecord) -> None:
        loop, progress = asyncio.get_running_loop(), PullProgress()

        def pin(manifest: Manifest) -> None:
            asyncio.run_coroutine_threadsafe(self._pin(record.id, manifest), loop).result()

        spec = PullSpec(
            repo=record.repo,
            revision=record.revision,
            include=record.include,
            exclude=record.exclude,
            manifest=record.manifest,
            patience=self._settings().patience_seconds,
            reserve=self._settings().reserve_bytes,
            awaited=record.id in self._awaited,
        )
        known = self._endpoints.get(record.id), self._settings().endpoint, self._environ.get("HF_ENDPOINT")
        hub = Hub(completed_address(record.endpoint, known), self._environ, self._tokens.get(record.id))
        run = PullRun(spec, hub, self._cache, progress, self._throttle, pin, self._free, self._check_disk)
        self._awaited.discard(record.id)
        LOGGER.info("%s: %s", record.repo, "continued" if record.manifest else "started")
        self.running[record.id] = ActivePull(run, progress, asyncio.create_task(self._run(record.id, run)))

    async def _run(self, identity: str, run: PullRun) -> None:
        """Run one pull to its end, then start the next one, whatever happens."""
        try:
            await self._finish(identity, await asyncio.to_thread(run.run))
        except Exception as error:  # an error in the records costs this pull, not the queue
            self.running.pop(identity, None)
            LOGGER.error("%s: %s: %s", identity, type(error).__name__, error)
        self.start_next()

    async def _finish(self, identity: str, outcome: PullOutcome) -> None:
        record = self._records[identity]
        last = self.running.pop(identity).progress.download(download_of(record), outcome.manifest)
        record = decisions.after_run(record, outcome, last, time.time())
        level = logging.ERROR if record.error else logging.INFO
        detail = record.error.message if record.error else f"{last.done} bytes, {last.retries} retries"
        LOGGER.log(level, "%s: %s, %s", record.repo, DOWNLOAD_STATES[record.state], detail)
        self._records.note(record)
        try:
            await (self.discard(record) if record.state == "cancelled" else self._records.write(record))
            records = list(self._records)
            await self.forget([*decisions.to_forget(records), *decisions.superseded(records, record)])
        except LmxError as error:  # on a full disk the record in memory counts, and the queue continues
            LOGGER.warning("%s: its record was not written: %s", record.repo, error.message)

    async def _pin(self, identity: str, manifest: Manifest) -> None:
        await self._records.keep(msgspec.structs.replace(self._records[identity], manifest=manifest))

    def _discard_files(self, record: PullRecord) -> int:
        assert record.manifest is not None
        needed = decisions.blobs_of_others(self._records, record)
        files = [file for file in record.manifest.files if file.blob not in needed]
        paths = RepositoryPaths(self._cache, record.repo)
        with suppress(CancelledError, OSError, DiskError), locked_now(paths):
            return RepositoryWriter(paths).discard(files, record.added_at)
        return 0
