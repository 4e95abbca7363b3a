"""DemoPulls: the queue of downloads of the demonstration, and its progress over time. Performs no I/O."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from lmx_daemon.contract.admin.library.hub import Offer
from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import ConflictError, JobNotFoundError

RATE = 92_000_000.0
"""Bytes per second of all pulls together."""
VERIFY_RATE = 1_500_000_000.0
DONE_SECONDS = 60.0
"""Time during which a complete pull is listed."""
FILE_BYTES = 5_000_000_000


@dataclass
class ScriptedPull:
    """State of a pull. `done` and `checked` are bytes."""

    id: str
    offer: Offer
    started_at: float
    done: float = 0.0
    checked: float = 0.0
    state: Literal["queued", "downloading", "verifying", "paused", "done"] = "queued"
    ended_at: float | None = None

    @property
    def total(self) -> int:
        return self.offer.size or 0

    def row(self, now: float) -> Download:
        """Return the pull as the daemon lists it."""
        rate = RATE * (1 + 0.12 * math.sin(now / 4)) if self.state == "downloading" else 0.0
        files = 6 + self.total // FILE_BYTES
        return Download(
            id=self.id, repo=self.offer.id, state=self.state, revision="5c1d7e90ab32", done=int(self.done),
            total=self.total, rate=rate, eta=(self.total - self.done) / RATE if rate else None,
            files_done=int(files * self.done / self.total) if self.total else 0, files_total=files,
            checked=int(self.checked), to_check=self.total if self.state == "verifying" else 0,
            started_at=self.started_at, ended_at=self.ended_at,
        )  # fmt: skip


@dataclass
class DemoPulls:
    """The queue. One pull downloads at a time."""

    pulls: dict[str, ScriptedPull] = field(default_factory=dict)
    number: int = 0
    at: float | None = None
    """Time up to which the pulls have been moved on."""

    def add(self, offer: Offer, now: float, done: float = 0.0) -> Download:
        """Add a pull of an offer, of which the share `done` is on the disk. Raise ConflictError for a second one."""
        if any(pull.offer.id == offer.id for pull in self.pulls.values()):
            raise ConflictError(f"{offer.id} is in the queue already", hint="the Downloads pane shows it")
        self.number += 1
        pull = ScriptedPull(f"d{self.number}", offer, now, done=done * (offer.size or 0))
        self.pulls[pull.id] = pull
        return pull.row(now)

    def pause(self, identity: str, now: float) -> Download:
        pull = self._find(identity)
        if pull.state in ("queued", "downloading"):
            pull.state = "paused"
        return pull.row(now)

    def resume(self, identity: str, now: float) -> Download:
        pull = self._find(identity)
        if pull.state == "paused":
            pull.state = "queued"
        return pull.row(now)

    def cancel(self, identity: str, now: float) -> Download:
        pull = self._find(identity)
        del self.pulls[identity]
        return Download(id=pull.id, repo=pull.offer.id, state="cancelled", started_at=pull.started_at, ended_at=now)

    def advance(self, now: float) -> Iterator[Offer]:
        """Move the pulls on by one step, which ends at `now`, and yield the offers that have become complete."""
        step, self.at = now - (now if self.at is None else self.at), now
        for pull in list(self.pulls.values()):
            if pull.state == "verifying":
                pull.checked = min(pull.total, pull.checked + VERIFY_RATE * step)
                if pull.checked >= pull.total:
                    pull.state, pull.ended_at = "done", now
                    yield pull.offer
            elif pull.state == "done" and pull.ended_at is not None and now - pull.ended_at > DONE_SECONDS:
                del self.pulls[pull.id]
        running = next((pull for pull in self.pulls.values() if pull.state in ("downloading", "queued")), None)
        if running is not None:
            running.state = "downloading"
            running.done = min(running.total, running.done + RATE * step)
            if running.done >= running.total:
                running.state = "verifying"

    def rows(self, now: float) -> tuple[Download, ...]:
        return tuple(pull.row(now) for pull in self.pulls.values())

    def _find(self, identity: str) -> ScriptedPull:
        if identity not in self.pulls:
            raise JobNotFoundError(f"there is no pull {identity}")
        return self.pulls[identity]
