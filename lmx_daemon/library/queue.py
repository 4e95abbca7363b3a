"""The pulls that were asked for, in their order, and what may be done with them. Decisions are pure; records last.

One JSON file for each job, `<id>.json`, so that nothing that was acknowledged is lost by a kill. It fetches nothing.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from lmx_daemon.contract.errors import ConflictError, ErrorBody
from lmx_daemon.contract.generation import Frozen
from lmx_daemon.contract.types import Download, DownloadState
from lmx_daemon.library.cache import disk_error
from lmx_daemon.library.manifest import Manifest, write_file
from lmx_daemon.library.pull import Outcome

KEPT_ENDED = 20
"""So many of those that are done are still listed."""
MAX_RECORD_BYTES = 32 * 1024 * 1024

Wish = Literal["run", "pause", "done", "failed", "cancelled"]
STATES: dict[Wish, DownloadState] = {
    "run": "queued",
    "pause": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
Verb = Literal["pause", "resume", "cancel", "retry", "move"]
POSSIBLE: dict[Verb, frozenset[Wish]] = {
    "pause": frozenset({"run", "pause"}),
    "resume": frozenset({"run", "pause", "failed"}),
    "retry": frozenset({"run", "pause", "failed", "cancelled", "done"}),
    "cancel": frozenset({"run", "pause", "failed", "cancelled"}),
    "move": frozenset({"run", "pause"}),
}


class JobRecord(Frozen, frozen=True):
    """One pull as it is kept. `wish` is what is to become of it; "run" is also told of one that waits its turn."""

    id: str
    repo: str
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endpoint: str | None = None
    wish: Wish = "run"
    place: int = 0
    """Smaller is earlier."""
    added_at: float = 0.0
    ended_at: float | None = None
    manifest: Manifest | None = None
    """Pinned to its commit before the first byte."""
    error: ErrorBody | None = None
    last: Download | None = None
    """What was told of it when it last stopped."""


class Records:
    """The files. One thread writes all of them, in the order in which they were said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="pull-records")

    def read(self) -> list[JobRecord]:
        """In their order; what cannot be understood is left alone."""
        found = []
        for file in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []:
            try:
                if file.stat().st_size <= MAX_RECORD_BYTES:
                    record = msgspec.json.decode(file.read_bytes(), type=JobRecord)
                    found += [record] if record.id == file.stem else []
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
        return in_order(found)

    async def keep(self, record: JobRecord) -> None:
        """On the disk when it returns. Raises DiskError."""
        await self._act(partial(self._write, record))

    async def forget(self, identity: str) -> None:
        """Raises DiskError."""
        await self._act(partial((self._folder / f"{identity}.json").unlink, missing_ok=True))

    def close(self) -> None:
        self._writer.shutdown(wait=False)

    async def _act(self, act: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, act)
        except OSError as error:
            raise disk_error(error) from error

    def _write(self, record: JobRecord) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_file(self._folder / f"{record.id}.json", msgspec.json.encode(record), mode=0o600)


def base_of(record: JobRecord) -> Download:
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


def shown(record: JobRecord, position: int | None) -> Download:
    """What is told of a job that does not run: how far it was when it last did."""
    base = base_of(record)
    if record.last is not None:
        base = msgspec.structs.replace(record.last, state=base.state, error=base.error, ended_at=base.ended_at)
    return msgspec.structs.replace(base, position=position)


def in_order(records: Iterable[JobRecord]) -> list[JobRecord]:
    return sorted(records, key=lambda record: (record.place, record.added_at, record.id))


def to_start(records: Sequence[JobRecord], busy: Collection[str], at_once: int) -> list[str]:
    """Which jobs begin now: the first that are to run, two of one repository never together."""
    wanted = [record for record in in_order(records) if record.wish == "run"]
    repos = {record.repo for record in records if record.id in busy}
    started: list[str] = []
    for record in wanted:
        if len(busy) + len(started) >= at_once:
            break
        if record.id not in busy and record.repo not in repos:
            started.append(record.id)
            repos.add(record.repo)
    return started


def waiting(records: Sequence[JobRecord], busy: Collection[str]) -> list[str]:
    """Those that wait their turn, the next first."""
    return [record.id for record in in_order(records) if record.wish == "run" and record.id not in busy]


def moved(records: Sequence[JobRecord], busy: Collection[str], identity: str, position: int) -> list[JobRecord]:
    """The records that change when one is put at `position` among those that wait or are paused."""
    order = [r for r in in_order(records) if r.wish in ("run", "pause") and r.id not in busy and r.id != identity]
    record = next(r for r in records if r.id == identity)
    order.insert(min(max(0, position), len(order)), record)
    places = {r.id: place for place, r in enumerate(order, 1)}
    return [msgspec.structs.replace(r, place=places[r.id]) for r in order if r.place != places[r.id]]


def next_place(records: Iterable[JobRecord]) -> int:
    return max((record.place for record in records), default=0) + 1


def ended(record: JobRecord, outcome: Outcome, last: Download, now: float) -> JobRecord:
    """The record after its thread ended; a wish that came meanwhile is not lost."""
    wish, error = record.wish, None
    if outcome.error is None and not outcome.stopped:
        wish = "done"
    elif outcome.error is not None and wish == "run":
        wish, error = "failed", outcome.error
    return msgspec.structs.replace(
        record,
        wish=wish,
        error=error,
        ended_at=now if wish in ("done", "failed", "cancelled") else None,
        manifest=outcome.manifest if wish != "done" else None,
        last=msgspec.structs.replace(last, rate=0.0, eta=None, note=None, file=None),
    )


def needed_by_others(records: Iterable[JobRecord], mine: JobRecord) -> set[str]:
    """The blobs that other jobs of the repository are to bring."""
    others = [r.manifest for r in records if r.repo == mine.repo and r.id != mine.id and r.manifest is not None]
    return {file.blob for manifest in others for file in manifest.files}


def same_as(records: Iterable[JobRecord], wanted: JobRecord) -> JobRecord | None:
    """The job that does already what is wanted, from whatever mirror, unless it ended well or was cancelled."""
    for record in records:
        mine = (record.repo, record.revision, record.include, record.exclude)
        theirs = (wanted.repo, wanted.revision, wanted.include, wanted.exclude)
        if mine == theirs and record.wish in ("run", "pause", "failed"):
            return record
    return None


def superseded(records: Iterable[JobRecord], by: JobRecord) -> list[str]:
    """Ended jobs that the list need not show beside a newer one for the same."""
    ended = [record for record in records if record.wish in ("done", "cancelled")]
    return [r.id for r in ended if r.id != by.id and (r.repo, r.revision) == (by.repo, by.revision)]


def check(record: JobRecord, verb: Verb) -> None:
    """Raises ConflictError where `verb` makes no sense any more."""
    if record.wish not in POSSIBLE[verb]:
        raise ConflictError(f"the pull of {record.repo} is {record.wish}: nothing to {verb}")


def to_forget(records: Sequence[JobRecord]) -> list[str]:
    """Those that ended well so long ago that nobody asks for them."""
    ended = sorted((r for r in records if r.wish in ("done", "cancelled")), key=lambda r: r.ended_at or 0.0)
    return [record.id for record in ended[: max(0, len(ended) - KEPT_ENDED)]]
