"""One pull, in a thread of its own: a manifest, its files in parallel, and the snapshot when all of them are proved.

It ends as an Outcome, never as an exception; when it runs, and what becomes of its job, the queue decides.
"""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from lmx_daemon.contract.errors import CancelledError, DiskError, ErrorBody, HubError, LmxError
from lmx_daemon.contract.units import size
from lmx_daemon.library.disk.disk_errors import disk_error
from lmx_daemon.library.disk.layout import RepositoryPaths
from lmx_daemon.library.disk.repository_lock import locked
from lmx_daemon.library.hub.hub import Hub, TransientHubError
from lmx_daemon.library.hub.retry import backoff
from lmx_daemon.library.pull.fetch import Fetcher
from lmx_daemon.library.pull.progress import PullProgress
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from lmx_daemon.library.pull.selection import refuse_code
from lmx_daemon.library.pull.throttle import Throttle
from lmx_daemon.library.verify.code_files import CODE_CONFIGS
from lmx_daemon.library.verify.hashing import hash_file, hash_for
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile

THREADS = 4
LARGE_TOGETHER = 2
"""Large files at once; more gain nothing where the line is the limit, and small ones need not wait for them."""
LARGE_BYTES = 16 * 1024 * 1024
FRESH_PATIENCE_SECONDS = 3.0
"""Somebody waits for the first answer of a pull just asked for: it is not tried for minutes."""
SPACE_SECONDS = 0.5
CONFIG_BYTES = 4 * 1024 * 1024

FreeSpace = Callable[[Path], int]


def free_space(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class PullSpec:
    """What to pull, and how."""

    repo: str
    revision: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    manifest: Manifest | None
    """Pinned by an earlier run."""
    patience: float
    reserve: int
    """Bytes of the disk that stay free."""
    fresh: bool
    """Just asked for, by somebody who waits for an answer."""


@dataclass(frozen=True)
class PullOutcome:
    manifest: Manifest | None
    stopped: bool = False
    error: ErrorBody | None = None


class PullRun:
    """`stop()` may come from any thread; `run()` then ends soon. `on_manifest` is called before the first byte."""

    def __init__(
        self,
        order: PullSpec,
        hub: Hub,
        cache: Path,
        tally: PullProgress,
        throttle: Throttle,
        on_manifest: Callable[[Manifest], None],
        free: FreeSpace = free_space,
    ) -> None:
        self._order = order
        self._hub = hub
        self._paths = RepositoryPaths(cache, order.repo)
        self._writer = RepositoryWriter(self._paths)
        self._tally = tally
        self._throttle = throttle
        self._on_manifest = on_manifest
        self._free = free
        self._stop = threading.Event()
        self._manifest = order.manifest
        self._fetcher: Fetcher | None = None
        self._times: dict[str, int] = {}
        """Blob -> st_mtime_ns of the bytes that were proved."""
        self._space_at = 0.0
        self._large = threading.Semaphore(LARGE_TOGETHER)

    def stop(self) -> None:
        self._stop.set()
        if (fetcher := self._fetcher) is not None:  # its thread may put it away at any moment
            fetcher.abort()

    def run(self) -> PullOutcome:
        try:
            self._hub.refuse_if_offline()
            manifest = self._resolve()
            with locked(self._paths, self._stop, self._tally.waits):
                self._bring(manifest)
                self._raise_if_stopped()
                self._writer.publish(manifest, self._times, time.time())
            return PullOutcome(manifest)
        except CancelledError:
            return PullOutcome(self._manifest, stopped=True)
        except LmxError as error:
            return PullOutcome(self._manifest, error=error.body())
        except OSError as error:
            return PullOutcome(self._manifest, error=disk_error(error).body())
        except BaseException as error:  # the thread's edge: an error must not look like a pull without an end
            fault = HubError(f"an error of lmx's own: {type(error).__name__}: {error}", hint="please report it")
            return PullOutcome(self._manifest, error=fault.body())

    def _resolve(self) -> Manifest:
        """The pinned manifest, or a new one, kept before the first byte."""
        order, failures, begun = self._order, 0, time.monotonic()
        patience = FRESH_PATIENCE_SECONDS if order.fresh else order.patience
        while self._manifest is None:
            try:
                found = self._hub.manifest(order.repo, order.revision, order.include, order.exclude)
                self._on_manifest(found)
                self._manifest = found
            except TransientHubError as error:
                failures += 1
                if time.monotonic() - begun > patience:
                    raise
                self._tally.retries("", error.message)
                if self._stop.wait(backoff(failures)):
                    raise CancelledError("the pull was stopped") from None
        self._tally.resolved()
        return self._manifest

    def _bring(self, manifest: Manifest) -> None:
        """Every blob that the manifest names, proved."""
        proved = self._writer.verified_times(manifest.commit)
        blobs = {file.blob: file for file in manifest.files}
        self._tally.have(sum(file.size for file in manifest.files) - sum(file.size for file in blobs.values()))
        for file in manifest.files:
            if blobs[file.blob] is not file:  # two names of the same bytes
                self._tally.ends(file.path, proved=True)
        missing = [file for file in blobs.values() if not self._has(manifest.commit, file, proved)]
        self._check_room(missing)
        fetcher = self._fetcher = Fetcher(
            self._writer,
            self._hub.token(),
            self._stop,
            self._tally,
            self._throttle,
            self._check_space,
            self._order.patience,
        )
        try:
            first = [file for file in missing if file.path in CODE_CONFIGS]
            self._together(fetcher, manifest, first)
            self._check_configs(manifest)
            self._together(fetcher, manifest, [file for file in missing if file not in first])
            commit, times = manifest.commit, self._times
            written = [file for file in blobs.values() if not self._writer.is_unchanged(commit, file, times)]
            self._tally.lost(sum(file.size for file in written))
            self._together(fetcher, manifest, written)  # by others, while the rest was fetched
        finally:
            self._fetcher = None
            fetcher.close()

    def _has(self, commit: str, file: ManifestFile, proved: dict[str, int]) -> bool:
        """Whether the file needs nothing: it is as it was when it was proved."""
        if not self._writer.is_unchanged(commit, file, proved):
            return False
        self._times[file.blob] = proved[file.blob]
        self._tally.have(file.size)
        self._tally.ends(file.path, proved=True)
        return True

    def _together(self, fetcher: Fetcher, manifest: Manifest, files: Sequence[ManifestFile]) -> None:
        """In parallel, small ones first. The first failure stops the others."""
        if not files:
            return
        failed: BaseException | None = None
        with ThreadPoolExecutor(min(THREADS, len(files)), thread_name_prefix="pull") as threads:
            ordered = sorted(files, key=lambda file: file.size)
            work = [threads.submit(self._one, fetcher, manifest, file) for file in ordered]
            done, _ = wait(work, return_when=FIRST_EXCEPTION)
            failed = _failure(done)
            if failed is not None:
                self._end(fetcher, work)
        if failed is not None:
            raise failed

    def _end(self, fetcher: Fetcher, work: list[Future[None]]) -> None:
        for future in work:
            future.cancel()
        self._stop.set()
        while not all(future.done() for future in work):
            fetcher.abort()
            wait(work, timeout=0.2)

    def _one(self, fetcher: Fetcher, manifest: Manifest, file: ManifestFile) -> None:
        self._raise_if_stopped()
        proved = False
        try:
            if file.size >= LARGE_BYTES:
                with self._large:
                    self._raise_if_stopped()
                    self._prove_or_fetch(fetcher, manifest, file)
            else:
                self._prove_or_fetch(fetcher, manifest, file)
            proved = True
        finally:
            self._tally.ends(file.path, proved=proved)

    def _prove_or_fetch(self, fetcher: Fetcher, manifest: Manifest, file: ManifestFile) -> None:
        """Bytes that another tool left under this name are used where their hash is right."""
        blob = self._paths.stored(manifest.commit, file)
        if blob.is_file():
            status = blob.stat()
            if status.st_size == file.size:
                self._tally.begins(file.path, "verifying")
                self._tally.found(file.size)
                if hash_file(blob, hash_for(file), self._stop, self._tally.checked) == file.blob:
                    self._tally.kept(file.size)
                    self._times[file.blob] = status.st_mtime_ns
                    return
                self._tally.lost(file.size)
            self._tally.retries(file.path, f"{file.path}: what is in the cache has a wrong hash; fetching it again")
            self._writer.quarantine(blob, file)
        self._times[file.blob] = fetcher.fetch(self._hub.url(manifest, file), file)

    def _check_configs(self, manifest: Manifest) -> None:
        configs = [file for file in manifest.files if file.path in CODE_CONFIGS and file.size <= CONFIG_BYTES]
        if not self._order.include:
            read = {file.path: self._paths.stored(manifest.commit, file).read_bytes() for file in configs}
            refuse_code(manifest.repo, read)

    def _check_room(self, missing: Sequence[ManifestFile]) -> None:
        have = 0
        for file in missing:
            for path in (self._paths.partial(file), self._paths.blob(file)):
                have += min(file.size, path.stat().st_size) if path.is_file() else 0
        wanted, reserve = sum(file.size for file in missing) - have, self._order.reserve
        free = self._free(self._paths.blobs)
        if wanted > 0 and wanted + reserve > free:
            raise DiskError(
                f"{self._order.repo} needs {size(wanted)} more; {size(free)} are free, and "
                f"{size(reserve)} of them are kept free",
                hint="free some space (lmx ls shows what the models take), or lower [library] reserve_bytes",
            )

    def _check_space(self) -> None:
        """Under way, now and then: others fill the disk too."""
        now = time.monotonic()
        if now - self._space_at < SPACE_SECONDS:
            return
        self._space_at = now
        free = self._free(self._paths.blobs)
        if free < self._order.reserve:
            raise DiskError(
                f"the disk is nearly full: {size(free)} are free, and lmx leaves {size(self._order.reserve)}",
                hint="free some space, and pull again: it goes on where it stopped",
            )

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise CancelledError("the pull was stopped")


def _failure(done: "set[Future[None]]") -> BaseException | None:
    """The reason of the end, rather than the echo of it in the other threads."""
    errors = [error for future in done if not future.cancelled() and (error := future.exception()) is not None]
    return next((error for error in errors if not isinstance(error, CancelledError)), errors[0] if errors else None)
