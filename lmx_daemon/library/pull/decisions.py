"""Decisions about the queue of pulls: order, permitted commands, next states. Pure functions over the records."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import ConflictError
from lmx_daemon.library.pull.pull_run import PullOutcome
from lmx_daemon.library.pull.records import JobState, PullRecord, in_order

KEPT_ENDED = 20
"""Number of completed and cancelled pulls that stay in the list."""

PullCommand = Literal["pause", "resume", "cancel", "retry", "move"]
PERMITTED: dict[PullCommand, frozenset[JobState]] = {
    "pause": frozenset({"run", "pause"}),
    "resume": frozenset({"run", "pause", "failed"}),
    "retry": frozenset({"run", "pause", "failed", "cancelled", "done"}),
    "cancel": frozenset({"run", "pause", "failed", "cancelled"}),
    "move": frozenset({"run", "pause"}),
}
"""States in which each command has a meaning."""


def to_start(records: Sequence[PullRecord], running: Collection[str], at_once: int) -> list[str]:
    """Return the pulls to start now, in order. Two pulls of one repository never run at the same time."""
    wanted = [record for record in in_order(records) if record.state == "run"]
    repos = {record.repo for record in records if record.id in running}
    started: list[str] = []
    for record in wanted:
        if len(running) + len(started) >= at_once:
            break
        if record.id not in running and record.repo not in repos:
            started.append(record.id)
            repos.add(record.repo)
    return started


def waiting(records: Sequence[PullRecord], running: Collection[str]) -> list[str]:
    """Return the pulls that wait for their turn, the next first."""
    return [record.id for record in in_order(records) if record.state == "run" and record.id not in running]


def moved(records: Sequence[PullRecord], running: Collection[str], identity: str, position: int) -> list[PullRecord]:
    """Return the records that change when a pull moves to `position` among the waiting and paused ones."""
    order = [r for r in in_order(records) if r.state in ("run", "pause") and r.id not in running and r.id != identity]
    record = next(r for r in records if r.id == identity)
    order.insert(min(max(0, position), len(order)), record)
    ranks = {r.id: rank for rank, r in enumerate(order, 1)}
    return [msgspec.structs.replace(r, rank=ranks[r.id]) for r in order if r.rank != ranks[r.id]]


def next_rank(records: Iterable[PullRecord]) -> int:
    """Return the rank of a new pull, behind all others."""
    return max((record.rank for record in records), default=0) + 1


def after_run(record: PullRecord, outcome: PullOutcome, last: Download, now: float) -> PullRecord:
    """Return the record after a run has ended. A pause or cancellation that arrived during the run is kept."""
    state, error = record.state, None
    if outcome.error is None and not outcome.stopped:
        state = "done"
    elif outcome.error is not None and state == "run":
        state, error = "failed", outcome.error
    return msgspec.structs.replace(
        record,
        state=state,
        error=error,
        ended_at=now if state in ("done", "failed", "cancelled") else None,
        manifest=outcome.manifest if state != "done" else None,
        last=msgspec.structs.replace(last, rate=0.0, eta=None, note=None, file=None),
    )


def blobs_of_others(records: Iterable[PullRecord], own: PullRecord) -> set[str]:
    """Return the blobs that the other pulls of the same repository need."""
    others = [r.manifest for r in records if r.repo == own.repo and r.id != own.id and r.manifest is not None]
    return {file.blob for manifest in others for file in manifest.files}


def same_as(records: Iterable[PullRecord], wanted: PullRecord) -> PullRecord | None:
    """Return the unfinished pull of the same files, from any mirror; None when there is none."""
    for record in records:
        known = (record.repo, record.revision, record.include, record.exclude)
        same = known == (wanted.repo, wanted.revision, wanted.include, wanted.exclude)
        if same and record.state in ("run", "pause", "failed"):
            return record
    return None


def superseded(records: Iterable[PullRecord], by: PullRecord) -> list[str]:
    """Return the completed and cancelled pulls of the same revision, which the newer one `by` replaces in the list."""
    ended = [record for record in records if record.state in ("done", "cancelled")]
    return [r.id for r in ended if r.id != by.id and (r.repo, r.revision) == (by.repo, by.revision)]


def check(record: PullRecord, command: PullCommand) -> None:
    """Raise ConflictError when a command has no meaning in the pull's state."""
    if record.state not in PERMITTED[command]:
        raise ConflictError(f"the pull of {record.repo} is {record.state}: nothing to {command}")


def to_forget(records: Sequence[PullRecord]) -> list[str]:
    """Return the oldest completed and cancelled pulls beyond KEPT_ENDED."""
    ended = sorted((r for r in records if r.state in ("done", "cancelled")), key=lambda r: r.ended_at or 0.0)
    return [record.id for record in ended[: max(0, len(ended) - KEPT_ENDED)]]
