"""The pulls that were asked for, in their order, and what may be done with them. Decisions only, over their records."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from lmx_daemon.contract.errors import ConflictError
from lmx_daemon.contract.pulls import Download
from lmx_daemon.library.pull.records import JobState, PullRecord, in_order
from lmx_daemon.library.pull.run import PullOutcome

KEPT_ENDED = 20
"""So many of those that are done are still listed."""

Verb = Literal["pause", "resume", "cancel", "retry", "move"]
POSSIBLE: dict[Verb, frozenset[JobState]] = {
    "pause": frozenset({"run", "pause"}),
    "resume": frozenset({"run", "pause", "failed"}),
    "retry": frozenset({"run", "pause", "failed", "cancelled", "done"}),
    "cancel": frozenset({"run", "pause", "failed", "cancelled"}),
    "move": frozenset({"run", "pause"}),
}


def to_start(records: Sequence[PullRecord], busy: Collection[str], at_once: int) -> list[str]:
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


def waiting(records: Sequence[PullRecord], busy: Collection[str]) -> list[str]:
    """Those that wait their turn, the next first."""
    return [record.id for record in in_order(records) if record.wish == "run" and record.id not in busy]


def moved(records: Sequence[PullRecord], busy: Collection[str], identity: str, position: int) -> list[PullRecord]:
    """The records that change when one is put at `position` among those that wait or are paused."""
    order = [r for r in in_order(records) if r.wish in ("run", "pause") and r.id not in busy and r.id != identity]
    record = next(r for r in records if r.id == identity)
    order.insert(min(max(0, position), len(order)), record)
    places = {r.id: place for place, r in enumerate(order, 1)}
    return [msgspec.structs.replace(r, place=places[r.id]) for r in order if r.place != places[r.id]]


def next_place(records: Iterable[PullRecord]) -> int:
    return max((record.place for record in records), default=0) + 1


def ended(record: PullRecord, outcome: PullOutcome, last: Download, now: float) -> PullRecord:
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


def needed_by_others(records: Iterable[PullRecord], mine: PullRecord) -> set[str]:
    """The blobs that other jobs of the repository are to bring."""
    others = [r.manifest for r in records if r.repo == mine.repo and r.id != mine.id and r.manifest is not None]
    return {file.blob for manifest in others for file in manifest.files}


def same_as(records: Iterable[PullRecord], wanted: PullRecord) -> PullRecord | None:
    """The job that does already what is wanted, from whatever mirror, unless it ended well or was cancelled."""
    for record in records:
        mine = (record.repo, record.revision, record.include, record.exclude)
        theirs = (wanted.repo, wanted.revision, wanted.include, wanted.exclude)
        if mine == theirs and record.wish in ("run", "pause", "failed"):
            return record
    return None


def superseded(records: Iterable[PullRecord], by: PullRecord) -> list[str]:
    """Ended jobs that the list need not show beside a newer one for the same."""
    ended = [record for record in records if record.wish in ("done", "cancelled")]
    return [r.id for r in ended if r.id != by.id and (r.repo, r.revision) == (by.repo, by.revision)]


def check(record: PullRecord, verb: Verb) -> None:
    """Raises ConflictError where `verb` makes no sense any more."""
    if record.wish not in POSSIBLE[verb]:
        raise ConflictError(f"the pull of {record.repo} is {record.wish}: nothing to {verb}")


def to_forget(records: Sequence[PullRecord]) -> list[str]:
    """Those that ended well so long ago that nobody asks for them."""
    ended = sorted((r for r in records if r.wish in ("done", "cancelled")), key=lambda r: r.ended_at or 0.0)
    return [record.id for record in ended[: max(0, len(ended) - KEPT_ENDED)]]
