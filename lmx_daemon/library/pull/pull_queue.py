"""Pulls: the queue as it lives. It owns the jobs' threads, and has what was asked written down before it answers.

Owned by the daemon's loop; each running pull has a thread, whose progress is read through its Tally. queue.py decides
which jobs run; pull.py does the work; records.py keeps what was asked.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import CancelledError, DiskError, LmxError
from lmx_daemon.contract.pulls import DOWNLOAD_ENDS, Download, PullRequest
from lmx_daemon.library.disk.layout import RepositoryPaths, hub_cache
from lmx_daemon.library.disk.repository_lock import locked_now
from lmx_daemon.library.hub.hub import Hub, checked_endpoint
from lmx_daemon.library.hub.names import asked_for, revision_of
from lmx_daemon.library.pull import decisions
from lmx_daemon.library.pull.progress import PullProgress
from lmx_daemon.library.pull.records import STATES, JobState, PullRecord, PullRecords, base_of, in_order, shown
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from lmx_daemon.library.pull.run import FreeSpace, PullOutcome, PullRun, PullSpec, free_space
from lmx_daemon.library.pull.throttle import Throttle
from lmx_daemon.library.verify.manifest import Manifest
from lmx_daemon.settings.schema import LibrarySettings

TELL_SECONDS = 0.15
REPEAT_SECONDS = 1.0
"""A watcher hears so often even where nothing changes."""
STOP_SECONDS = 8.0
"""A thread ends within it, unless it waits for a name server."""
CLOSE_SECONDS = 10.0
"""Longest time that the daemon's shutdown waits for pulls and for the deletion of cancelled ones."""
NUDGE_SECONDS = 0.2
PIN_KEPT = frozenset({"hub_error", "disk_error"})
"""After these a retry goes on with the same commit; after others it asks the Hub what is there now."""
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")
Downloads = list[Download]
LOGGER = logging.getLogger("lmx.pulls")


@dataclass(frozen=True)
class ActivePull:
    pull: PullRun
    tally: PullProgress
    task: "asyncio.Task[None]"


class PullQueue:
    """Call `open()` once there is a loop: what an earlier daemon left goes on. `folder` keeps the records."""

    def __init__(
        self,
        settings: Callable[[], LibrarySettings],
        environ: Mapping[str, str],
        folder: Path,
        free: FreeSpace = free_space,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._cache = hub_cache(environ)
        self._free = free
        self._records = PullRecords(folder)
        self._throttle = Throttle(settings().bytes_per_second)
        self._running: dict[str, ActivePull] = {}
        self._tokens: dict[str, str] = {}
        self._fresh: set[str] = set()
        self._leftovers: list[asyncio.Task[None]] = []
        self._asking = asyncio.Lock()
        self._closing = False

    # ---- what is asked ----

    def open(self) -> None:
        for record in self._records:
            if record.wish == "cancelled":
                self._leftovers.append(asyncio.create_task(self._discard(record)))
        self._advance()

    async def start(self, request: PullRequest) -> Download:
        """Puts a pull into the queue, or goes on with the one for the same. Raises RequestError or DiskError."""
        endpoint = checked_endpoint(request.endpoint) or self._settings().endpoint
        repo, pasted = asked_for(request.repo, Hub(endpoint, self._environ).endpoint)
        wanted = PullRecord(
            id=uuid.uuid4().hex[:12],
            repo=repo,
            revision=revision_of(request.revision) or pasted,
            include=request.include,
            exclude=request.exclude,
            endpoint=endpoint,
            wish="pause" if request.paused else "run",
            place=decisions.next_place(self._records),
            added_at=time.time(),
        )
        async with self._asking:  # who asks for the same is answered once the first one is written down
            return await self._take(wanted, request.token)

    def list(self) -> Downloads:
        """Those that run, then the queue in its order, then the ended ones."""
        rank: dict[JobState, int] = {"run": 0, "pause": 1, "failed": 2, "done": 3, "cancelled": 3}
        ordered = in_order(self._records)
        ordered.sort(key=lambda record: (record.id not in self._running, rank[record.wish]))
        return [self._told(record) for record in ordered]

    def get(self, identity: str) -> Download:
        return self._told(self._records[identity])

    async def watch(self, identity: str) -> AsyncIterator[Download]:
        """The job as it goes on; the last one is paused, done, failed or cancelled."""
        told = self.get(identity)
        yield told
        at = time.monotonic()
        while told.state not in DOWNLOAD_ENDS:
            await asyncio.sleep(TELL_SECONDS)
            now = self.get(identity)
            if now != told or time.monotonic() - at > REPEAT_SECONDS:
                told, at = now, time.monotonic()
                yield told

    async def pause(self, identity: str) -> Download:
        """Stops it until it is resumed; what was fetched is kept."""
        record = self._records[identity]
        decisions.check(record, "pause")
        await self._records.keep(msgspec.structs.replace(record, wish="pause"))
        await self._stop(identity)
        self._advance()
        return self.get(identity)

    async def resume(self, identity: str) -> Download:
        record = self._records[identity]
        decisions.check(record, "resume")
        return await self._go_on(record)

    async def retry(self, identity: str) -> Download:
        """Also of one that is done: it is looked at again, and what is missing or wrong is fetched."""
        record = self._records[identity]
        decisions.check(record, "retry")
        return await self._go_on(record)

    async def cancel(self, identity: str) -> Download:
        """Stops it for good; what was fetched and nothing else needs is deleted."""
        record = self._records[identity]
        decisions.check(record, "cancel")
        if record.wish != "cancelled":
            gone = msgspec.structs.replace(record, wish="cancelled", ended_at=time.time())
            self._records.note(gone)
            with suppress(DiskError):  # a full disk must not keep what fills it; the record goes with the files
                await self._records.write(gone)
            await (self._stop(identity) if identity in self._running else self._discard(gone))
        self._advance()
        return self.get(identity)

    async def move(self, identity: str, position: int) -> Downloads:
        decisions.check(self._records[identity], "move")
        changed = decisions.moved(list(self._records), self._running, identity, position)
        for record in changed:
            self._records.note(record)
        for record in changed:  # as it is by then: it may have begun, or ended
            if record.id in self._records:
                await self._records.write(self._records[record.id])
        return self.list()

    async def clear(self) -> Downloads:
        """Forgets the jobs that have ended; files stay as they are."""
        await self._forget([record.id for record in self._records])
        return self.list()

    def limit(self, bytes_per_second: int | None) -> None:
        """Over all pulls, until the daemon stops."""
        self._throttle.set_rate(bytes_per_second)

    async def close(self) -> None:
        """Stop all pulls within CLOSE_SECONDS. The next daemon continues them.

        A thread that waits for a disk is left behind: a disk that does not answer must not delay the daemon's end.
        """
        self._closing = True
        stops = [asyncio.create_task(self._stop(identity)) for identity in list(self._running)]
        if tasks := [*self._leftovers, *stops]:
            _, pending = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in pending:
                task.cancel()
        self._records.close()

    # ---- what is done ----

    async def _take(self, wanted: PullRecord, token: str | None) -> Download:
        known = decisions.same_as(self._records, wanted)
        identity = wanted.id if known is None else known.id
        if token:
            self._tokens[identity] = token
        self._fresh.add(identity)
        if known is None:
            await self._records.keep(wanted)
            self._advance()
        elif wanted.wish == "run" and known.wish != "run":
            await self._go_on(msgspec.structs.replace(known, endpoint=wanted.endpoint))
        return self.get(identity)

    async def _go_on(self, record: PullRecord) -> Download:
        pinned = record.wish in ("run", "pause") or (record.error is not None and record.error.code in PIN_KEPT)
        again = msgspec.structs.replace(
            record, wish="run", error=None, ended_at=None, manifest=record.manifest if pinned else None
        )
        self._fresh.add(record.id)
        await self._records.keep(again)
        self._advance()
        return self.get(record.id)

    def _advance(self) -> None:
        if self._closing:
            return
        for identity in decisions.to_start(list(self._records), self._running, self._settings().pulls_at_once):
            self._begin(self._records[identity])

    def _begin(self, record: PullRecord) -> None:
        loop, tally = asyncio.get_running_loop(), PullProgress()

        def pin(manifest: Manifest) -> None:
            asyncio.run_coroutine_threadsafe(self._pin(record.id, manifest), loop).result()

        order = PullSpec(
            repo=record.repo,
            revision=record.revision,
            include=record.include,
            exclude=record.exclude,
            manifest=record.manifest,
            patience=self._settings().patience_seconds,
            reserve=self._settings().reserve_bytes,
            fresh=record.id in self._fresh,
        )
        hub = Hub(record.endpoint, self._environ, self._tokens.get(record.id))
        pull = PullRun(order, hub, self._cache, tally, self._throttle, pin, self._free)
        self._fresh.discard(record.id)
        LOGGER.info("%s: begun%s", record.repo, " anew" if record.manifest else "")
        self._running[record.id] = ActivePull(pull, tally, asyncio.create_task(self._run(record.id, pull)))

    async def _run(self, identity: str, pull: PullRun) -> None:
        """Run one pull to its end. The queue goes on whatever happens to it."""
        try:
            await self._finish(identity, await asyncio.to_thread(pull.run))
        except Exception as error:  # whatever the records raise costs this job, not the queue
            self._running.pop(identity, None)
            LOGGER.error("%s: %s: %s", identity, type(error).__name__, error)
        self._advance()

    async def _finish(self, identity: str, outcome: PullOutcome) -> None:
        record = self._records[identity]
        last = self._running.pop(identity).tally.told(base_of(record), outcome.manifest)
        record = decisions.ended(record, outcome, last, time.time())
        level = logging.ERROR if record.error else logging.INFO
        said = record.error.message if record.error else f"{last.done} bytes, {last.retries} retries"
        LOGGER.log(level, "%s: %s, %s", record.repo, STATES[record.wish], said)
        self._records.note(record)
        try:
            await (self._discard(record) if record.wish == "cancelled" else self._records.write(record))
            records = list(self._records)
            await self._forget([*decisions.to_forget(records), *decisions.superseded(records, record)])
        except LmxError as error:  # a full disk: what is known in memory has to do, and the queue goes on
            LOGGER.warning("%s: its record was not written: %s", record.repo, error.message)

    async def _stop(self, identity: str) -> None:
        """Its thread ends; what its job is to become was written before."""
        running = self._running.get(identity)
        deadline = time.monotonic() + STOP_SECONDS
        while running is not None and not running.task.done() and time.monotonic() < deadline:
            running.pull.stop()
            await asyncio.wait([running.task], timeout=NUDGE_SECONDS)

    async def _pin(self, identity: str, manifest: Manifest) -> None:
        await self._records.keep(msgspec.structs.replace(self._records[identity], manifest=manifest))

    async def _discard(self, record: PullRecord) -> None:
        """Frees what a cancelled pull had fetched, and forgets it on disk; in memory it is still told."""
        if record.manifest is not None:
            freed = await asyncio.to_thread(self._discard_files, record)
            LOGGER.info("%s: %d bytes deleted", record.repo, freed)
        if record.id not in self._records or self._records[record.id].wish != "cancelled":
            return  # it was asked for again meanwhile
        self._records.note(msgspec.structs.replace(self._records[record.id], manifest=None))
        try:
            await self._records.erase(record.id)
        except LmxError as error:  # the next daemon finds it cancelled, and tries again
            LOGGER.warning("%s: its record was not deleted: %s", record.repo, error.message)

    def _discard_files(self, record: PullRecord) -> int:
        assert record.manifest is not None
        needed = decisions.needed_by_others(self._records, record)
        files = [file for file in record.manifest.files if file.blob not in needed]
        paths = RepositoryPaths(self._cache, record.repo)
        with suppress(CancelledError, OSError, DiskError), locked_now(paths):
            return RepositoryWriter(paths).discard(files, record.added_at)
        return 0

    async def _forget(self, identities: Iterable[str]) -> None:
        """Those of them that have ended, each by what is known when its turn comes. Raises DiskError."""
        for identity in identities:
            if identity in self._running or identity not in self._records:
                continue
            if self._records[identity].wish in ENDED:
                self._tokens.pop(identity, None)
                self._fresh.discard(identity)
                await self._records.forget(identity)

    def _told(self, record: PullRecord) -> Download:
        running = self._running.get(record.id)
        if running is not None:
            told = running.tally.told(base_of(record), record.manifest)
            if record.wish == "run":
                return told
            return msgspec.structs.replace(told, state=STATES[record.wish], rate=0.0, eta=None)
        waiting = decisions.waiting(list(self._records), self._running)
        return shown(record, waiting.index(record.id) if record.id in waiting else None)
