"""What a pull tells of itself while its threads work: counted by them, read by the daemon's loop.

It decides nothing; what it cannot know (a place in the queue, a pause) is added by its reader.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from lmx_daemon.contract.pulls import Download, DownloadState
from lmx_daemon.library.verify.manifest import Manifest

STALLED_SECONDS = 15.0
"""Without a byte for so long, a pull that is downloading is told as stalled."""
RATE_SECONDS = 10.0
SAMPLE_SECONDS = 0.2

FileActivity = Literal["downloading", "verifying", "retrying"]
SHOWN: tuple[FileActivity, ...] = ("downloading", "verifying", "retrying")
"""Where threads do different things, the first of these is the pull's state."""


class PullProgress:
    """Counters behind one lock, each change too small to hold up the threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._doing: dict[str, FileActivity] = {}
        self._resolving = True
        self._waiting = False
        self._done = self._received = self._resumed = self._checked = self._to_check = 0
        self._files_done = self._retries = 0
        self._file: str | None = None
        self._note: str | None = None
        self._moved_at = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._moved_at, 0)])

    # ---- by the threads ----

    def resolved(self) -> None:
        """The manifest is known."""
        with self._lock:
            self._resolving = False
            self._moved_at = self._clock()
            self._samples = deque([(self._moved_at, self._received)])

    def waits(self, note: str | None) -> None:
        """For another process that pulls the same; None: no longer."""
        with self._lock:
            self._waiting, self._note = note is not None, note
            self._moved_at = self._clock()

    def begins(self, path: str, doing: FileActivity) -> None:
        with self._lock:
            self._doing[path] = doing
            self._file = path

    def ends(self, path: str, *, proved: bool) -> None:
        with self._lock:
            self._doing.pop(path, None)
            self._files_done += proved
            self._file = next(reversed(self._doing), None)

    def received(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._received += count
            self._moved()

    def found(self, count: int) -> None:
        """Bytes that an earlier attempt had left; to be hashed before they are built on."""
        with self._lock:
            self._to_check += count

    def checked(self, count: int) -> None:
        """So many of them are hashed now, and count as done."""
        with self._lock:
            self._checked += count
            self._done += count
            self._moved()

    def kept(self, count: int) -> None:
        """So many bytes of an earlier attempt are built on."""
        with self._lock:
            self._resumed += count

    def have(self, count: int) -> None:
        """Bytes that were proved before."""
        with self._lock:
            self._done += count

    def lost(self, count: int) -> None:
        """Bytes that turned out to be of no use."""
        with self._lock:
            self._done -= count

    def retries(self, path: str, reason: str) -> None:
        with self._lock:
            self._retries += 1
            self._note = reason
            if path:
                self._doing[path] = "retrying"

    def _moved(self) -> None:
        now = self._clock()
        self._moved_at = now
        if now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, self._received))
            while now - self._samples[0][0] > RATE_SECONDS:
                self._samples.popleft()

    # ---- by the loop ----

    def told(self, base: Download, manifest: Manifest | None) -> Download:
        """`base` with what is known now."""
        with self._lock:
            now = self._clock()
            rate = self._rate(now)
            total = manifest.size if manifest else None
            left = None if total is None else max(0, total - self._done)
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
                note=self._note if self._waiting or "retrying" in self._doing.values() or self._resolving else None,
                skipped=manifest.skipped if manifest else (),
            )

    def _state(self, now: float) -> DownloadState:
        if self._waiting:
            return "queued"
        if self._resolving:
            return "retrying" if self._retries else "queued"
        doing = set(self._doing.values())
        state: DownloadState = next((shown for shown in SHOWN if shown in doing), "downloading")
        return "stalled" if state != "verifying" and now - self._moved_at > STALLED_SECONDS else state

    def _rate(self, now: float) -> float:
        """Received bytes a second over the last seconds; it falls when nothing comes."""
        begun, before = self._samples[0]
        return (self._received - before) / (now - begun) if now - begun >= SAMPLE_SECONDS else 0.0
