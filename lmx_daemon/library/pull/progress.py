"""The progress of one pull: counted by its threads, read by the event loop. It decides nothing."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from lmx_daemon.contract.admin.library.pulls import Download, DownloadState
from lmx_daemon.library.verify.manifest import Manifest

STALLED_SECONDS = 15.0
"""Time without a byte after which a downloading pull counts as stalled."""
RATE_SECONDS = 10.0
"""Time over which the rate is averaged."""
SAMPLE_SECONDS = 0.2
"""Shortest interval between two samples of the rate."""

FileActivity = Literal["downloading", "verifying", "retrying"]
PRECEDENCE: tuple[FileActivity, ...] = ("downloading", "verifying", "retrying")
"""Order in which the activities of several files determine the pull's state."""


class PullProgress:
    """Counters behind one lock. Every method is short enough not to delay a thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._activities: dict[str, FileActivity] = {}
        self._resolving = True
        self._waiting = False
        self._done = self._received = self._resumed = self._checked = self._to_check = 0
        self._files_done = self._retries = 0
        self._file: str | None = None
        self._note: str | None = None
        self._moved_at = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._moved_at, 0)])

    # ---- for the threads ----

    def resolved(self) -> None:
        """Record that the manifest is known."""
        with self._lock:
            self._resolving = False
            self._moved_at = self._clock()
            self._samples = deque([(self._moved_at, self._received)])

    def waits(self, note: str | None) -> None:
        """Record that the pull waits for another process, with the reason; None ends the wait."""
        with self._lock:
            self._waiting, self._note = note is not None, note
            self._moved_at = self._clock()

    def begins(self, path: str, activity: FileActivity) -> None:
        """Record the current work on a file."""
        with self._lock:
            self._activities[path] = activity
            self._file = path

    def ends(self, path: str, *, verified: bool) -> None:
        """Record that the work on a file has ended."""
        with self._lock:
            self._activities.pop(path, None)
            self._files_done += verified
            self._file = next(reversed(self._activities), None)

    def received(self, count: int) -> None:
        """Add bytes that were fetched."""
        with self._lock:
            self._done += count
            self._received += count
            self._moved()

    def found(self, count: int) -> None:
        """Add bytes of an earlier attempt, which must be hashed before they are continued."""
        with self._lock:
            self._to_check += count

    def checked(self, count: int) -> None:
        """Add bytes of an earlier attempt that are hashed, and count as done."""
        with self._lock:
            self._checked += count
            self._done += count
            self._moved()

    def resumed(self, count: int) -> None:
        """Add bytes of an earlier attempt that are continued."""
        with self._lock:
            self._resumed += count

    def have(self, count: int) -> None:
        """Add bytes that were verified before this pull."""
        with self._lock:
            self._done += count

    def lost(self, count: int) -> None:
        """Subtract bytes that turned out to be useless."""
        with self._lock:
            self._done -= count

    def retries(self, path: str, reason: str) -> None:
        """Record another attempt, for a file or (with an empty path) for the manifest."""
        with self._lock:
            self._retries += 1
            self._note = reason
            if path:
                self._activities[path] = "retrying"

    def _moved(self) -> None:
        now = self._clock()
        self._moved_at = now
        if now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, self._received))
            while now - self._samples[0][0] > RATE_SECONDS:
                self._samples.popleft()

    # ---- for the event loop ----

    def download(self, base: Download, manifest: Manifest | None) -> Download:
        """Return `base` with the current progress."""
        with self._lock:
            now = self._clock()
            rate = self._rate(now)
            total = manifest.size if manifest else None
            left = None if total is None else max(0, total - self._done)
            retrying = "retrying" in self._activities.values()
            return msgspec.structs.replace(
                base,
                state=self._state(now),
                revision=manifest.commit if manifest else None,
                done=self._done,
                total=total,
                rate=rate,
                eta=left / rate if left is not None and rate > 0 else None,
                files_done=self._files_done,
                files_total=len(manifest.files) if manifest else None,
                file=self._file,
                resumed=self._resumed,
                retries=self._retries,
                checked=self._checked,
                to_check=self._to_check,
                note=self._note if self._waiting or retrying or self._resolving else None,
                skipped=manifest.skipped if manifest else (),
            )

    def _state(self, now: float) -> DownloadState:
        if self._waiting:
            return "queued"
        if self._resolving:
            return "retrying" if self._retries else "queued"
        activities = set(self._activities.values())
        state: DownloadState = next((one for one in PRECEDENCE if one in activities), "downloading")
        return "stalled" if state != "verifying" and now - self._moved_at > STALLED_SECONDS else state

    def _rate(self, now: float) -> float:
        """Return received bytes per second over the last RATE_SECONDS. It falls when nothing arrives."""
        begun, before = self._samples[0]
        return (self._received - before) / (now - begun) if now - begun >= SAMPLE_SECONDS else 0.0
