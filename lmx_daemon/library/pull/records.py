"""The records of pulls: what was requested and how far each pull got, in memory and on the disk.

Each pull has one JSON file, `<id>.json`, so that a kill loses nothing that was acknowledged. The state of a pull is
decided elsewhere.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from lmx_daemon.contract.admin.library.pulls import Download, DownloadState
from lmx_daemon.contract.errors import ErrorBody, JobNotFoundError, LmxError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.library.disk.disk_errors import disk_error
from lmx_daemon.library.verify.manifest import Manifest
from lmx_daemon.storage.versions import VersionedState

MAX_RECORD_BYTES = 32 * 1024 * 1024

JobState = Literal["run", "pause", "done", "failed", "cancelled"]
"""Recorded state of a pull. "run" covers the pulls that run and those that wait for their turn."""
DOWNLOAD_STATES: dict[JobState, DownloadState] = {
    "run": "queued",
    "pause": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""State for display of a pull that does not run."""


class PullRecord(Frozen, frozen=True):
    """Pull as it is stored."""

    id: str
    repo: str
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endpoint: str | None = None
    state: JobState = msgspec.field(default="run", name="wish")
    rank: int = msgspec.field(default=0, name="place")
    """Position in the queue; a smaller rank runs earlier."""
    added_at: float = 0.0
    ended_at: float | None = None
    manifest: Manifest | None = None
    """The manifest, pinned to its commit before the first byte is fetched."""
    error: ErrorBody | None = None
    last: Download | None = None
    """The progress when the pull last stopped."""


STATE = VersionedState(PullRecord)


class PullRecords:
    """All records, used by the event loop. One thread writes the files, in the order of the calls."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="pull-records")
        self._records = {record.id: record for record in self._read()}

    def __iter__(self) -> Iterator[PullRecord]:
        """Iterate over a copy, so that records may change meanwhile."""
        return iter(list(self._records.values()))

    def __contains__(self, identity: str) -> bool:
        """Return whether there is a pull with this id."""
        return identity in self._records

    def __getitem__(self, identity: str) -> PullRecord:
        """Return the record of a pull. Raises JobNotFoundError."""
        try:
            return self._records[identity]
        except KeyError:
            raise JobNotFoundError(f"there is no pull {identity!r}", hint="`lmx downloads` lists them") from None

    def note(self, record: PullRecord) -> None:
        """Change a record in memory only."""
        self._records[record.id] = record

    async def write(self, record: PullRecord) -> None:
        """Write a record to the disk only. Raises DiskError."""
        await self._run(partial(self._write, record))

    async def keep(self, record: PullRecord) -> None:
        """Change a record in memory at once, and return when it is on the disk.

        Raises DiskError, after the former record is restored.
        """
        before = self._records.get(record.id)
        self.note(record)
        try:
            await self.write(record)
        except LmxError:
            if self._records.get(record.id) is record:  # no other change was made during the write
                del self._records[record.id]
                if before is not None:
                    self.note(before)
            raise

    async def erase(self, identity: str) -> None:
        """Delete a record from the disk only. Raises DiskError."""
        await self._run(partial((self._folder / f"{identity}.json").unlink, missing_ok=True))

    async def forget(self, identity: str) -> None:
        """Delete a record from memory and from the disk. Raises DiskError, after the record is restored."""
        before = self._records.pop(identity, None)
        try:
            await self.erase(identity)
        except LmxError:
            if before is not None and identity not in self._records:
                self.note(before)
            raise

    def close(self) -> None:
        """End the thread after its last write."""
        self._writer.shutdown(wait=False)

    def _read(self) -> list[PullRecord]:
        """Return the stored records in their order. An unreadable file is renamed."""
        found = []
        for file in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []:
            record = STATE.read(file, limit=MAX_RECORD_BYTES, loss="this download is no longer listed")
            found += [record] if record is not None and record.id == file.stem else []
        return in_order(found)

    async def _run(self, act: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, act)
        except OSError as error:
            raise disk_error(error) from error

    def _write(self, record: PullRecord) -> None:
        STATE.write(self._folder / f"{record.id}.json", record)


def in_order(records: Iterable[PullRecord]) -> list[PullRecord]:
    """Return the records in the order of the queue."""
    return sorted(records, key=lambda record: (record.rank, record.added_at, record.id))


def download_of(record: PullRecord) -> Download:
    """Return the state of a pull without its progress."""
    return Download(
        id=record.id,
        repo=record.repo,
        state=DOWNLOAD_STATES[record.state],
        requested=record.revision,
        include=record.include,
        exclude=record.exclude,
        started_at=record.added_at,
        ended_at=record.ended_at,
        error=record.error,
    )


def idle_download(record: PullRecord, position: int | None) -> Download:
    """Return a pull that does not run, with the progress of its last run and its position in the queue."""
    base = download_of(record)
    if record.last is not None:
        base = msgspec.structs.replace(record.last, state=base.state, error=base.error, ended_at=base.ended_at)
    return msgspec.structs.replace(base, position=position)
