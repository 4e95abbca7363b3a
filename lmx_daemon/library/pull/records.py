"""The records of pulls: what was asked for and how far it came, known in memory and kept on the disk.

One JSON file for each job, `<id>.json`, so that nothing that was acknowledged is lost by a kill. What is to become of a
job is decided elsewhere.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from lmx_daemon.contract.errors import ErrorBody, JobNotFoundError, LmxError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.pulls import Download, DownloadState
from lmx_daemon.library.disk.disk_errors import disk_error
from lmx_daemon.library.verify.manifest import Manifest
from lmx_daemon.storage.state import json_of, read_state, write_state

MAX_RECORD_BYTES = 32 * 1024 * 1024

JobState = Literal["run", "pause", "done", "failed", "cancelled"]
STATES: dict[JobState, DownloadState] = {
    "run": "queued",
    "pause": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


class PullRecord(Frozen, frozen=True):
    """One pull as it is kept. `wish` is what is to become of it; "run" is also told of one that waits its turn."""

    id: str
    repo: str
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endpoint: str | None = None
    wish: JobState = "run"
    place: int = 0
    """Smaller is earlier."""
    added_at: float = 0.0
    ended_at: float | None = None
    manifest: Manifest | None = None
    """Pinned to its commit before the first byte."""
    error: ErrorBody | None = None
    last: Download | None = None
    """What was told of it when it last stopped."""


class PullRecords:
    """All of them, as the loop knows them. One thread writes the files, in the order in which they were said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="pull-records")
        self._records = {record.id: record for record in self._read()}

    def __iter__(self) -> Iterator[PullRecord]:
        return iter(list(self._records.values()))

    def __contains__(self, identity: str) -> bool:
        return identity in self._records

    def __getitem__(self, identity: str) -> PullRecord:
        """Raises JobNotFoundError."""
        try:
            return self._records[identity]
        except KeyError:
            raise JobNotFoundError(f"there is no pull {identity!r}", hint="`lmx downloads` lists them") from None

    def note(self, record: PullRecord) -> None:
        """In memory only."""
        self._records[record.id] = record

    async def write(self, record: PullRecord) -> None:
        """On the disk only. Raises DiskError."""
        await self._act(partial(self._write, record))

    async def keep(self, record: PullRecord) -> None:
        """Known at once, and on the disk when it returns. Raises DiskError; all is as it was before then."""
        before = self._records.get(record.id)
        self.note(record)
        try:
            await self.write(record)
        except LmxError:
            if self._records.get(record.id) is record:  # nobody said something else meanwhile
                del self._records[record.id]
                if before is not None:
                    self.note(before)
            raise

    async def erase(self, identity: str) -> None:
        """On the disk only. Raises DiskError."""
        await self._act(partial((self._folder / f"{identity}.json").unlink, missing_ok=True))

    async def forget(self, identity: str) -> None:
        """Raises DiskError."""
        self._records.pop(identity, None)
        await self.erase(identity)

    def close(self) -> None:
        self._writer.shutdown(wait=False)

    def _read(self) -> list[PullRecord]:
        """Return the records in their order; one that cannot be read is set aside."""
        decode = json_of(PullRecord)
        found = []
        for file in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []:
            record = read_state(file, decode, limit=MAX_RECORD_BYTES, loss="this download is no longer listed")
            found += [record] if record is not None and record.id == file.stem else []
        return in_order(found)

    async def _act(self, act: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, act)
        except OSError as error:
            raise disk_error(error) from error

    def _write(self, record: PullRecord) -> None:
        write_state(self._folder / f"{record.id}.json", msgspec.json.encode(record))


def in_order(records: Iterable[PullRecord]) -> list[PullRecord]:
    return sorted(records, key=lambda record: (record.place, record.added_at, record.id))


def base_of(record: PullRecord) -> Download:
    """What is told of a job whose work is not known."""
    return Download(
        id=record.id,
        repo=record.repo,
        state=STATES[record.wish],
        requested=record.revision,
        include=record.include,
        exclude=record.exclude,
        started_at=record.added_at,
        ended_at=record.ended_at,
        error=record.error,
    )


def shown(record: PullRecord, position: int | None) -> Download:
    """What is told of a job that does not run: how far it was when it last did."""
    base = base_of(record)
    if record.last is not None:
        base = msgspec.structs.replace(record.last, state=base.state, error=base.error, ended_at=base.ended_at)
    return msgspec.structs.replace(base, position=position)
