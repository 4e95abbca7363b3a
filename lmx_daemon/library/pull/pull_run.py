"""A run of a pull, in a thread: the manifest, the files in parallel, and the snapshot once all are verified.

A run returns a PullOutcome and never raises. The queue decides when it runs and what its outcome means.
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
"""Number of large files that are fetched at the same time. More would not be faster, and small files would wait."""
LARGE_BYTES = 16 * 1024 * 1024
AWAITED_PATIENCE_SECONDS = 3.0
"""Longest time that the manifest of a pull just requested is retried, since a user waits for the result."""
SPACE_SECONDS = 0.5
"""Interval between two checks of the free space during a pull."""
CONFIG_BYTES = 4 * 1024 * 1024
"""Size above which a config is not searched for code."""

FreeSpace = Callable[[Path], int]


def free_space(folder: Path) -> int:
    """Return the free bytes on the disk of a folder."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class PullSpec:
    """The files to pull, and the limits of the run."""

    repo: str
    revision: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    manifest: Manifest | None
    """The manifest that an earlier run has pinned; None asks the Hub."""
    patience: float
    """Longest time without a byte before the pull fails, in seconds."""
    reserve: int
    """Bytes that stay free on the disk."""
    awaited: bool
    """Whether a user waits for the first result."""


@dataclass(frozen=True)
class PullOutcome:
    """The end of a run: complete, stopped, or failed with an error."""

    manifest: Manifest | None
    stopped: bool = False
    error: ErrorBody | None = None


class PullRun:
    """Run of a pull. Any thread may call `stop()`. `on_manifest` is called before the first byte is fetched."""

    def __init__(
        self,
        spec: PullSpec,
        hub: Hub,
        cache: Path,
        progress: PullProgress,
        throttle: Throttle,
        on_manifest: Callable[[Manifest], None],
        free: FreeSpace = free_space,
        check_disk: Callable[[], None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._hub = hub
        self._paths = RepositoryPaths(cache, spec.repo)
        self._writer = RepositoryWriter(self._paths)
        self._progress = progress
        self._throttle = throttle
        self._on_manifest = on_manifest
        self._free = free
        self._check_disk = check_disk
        self._stop = threading.Event()
        self._manifest = spec.manifest
        self._fetcher: Fetcher | None = None
        self._times: dict[str, int] = {}
        """st_mtime_ns of each verified blob."""
        self._space_at = 0.0
        self._large = threading.Semaphore(LARGE_TOGETHER)

    def stop(self) -> None:
        """End the run soon."""
        self._stop.set()
        if (fetcher := self._fetcher) is not None:  # the run may remove it at any moment
            fetcher.abort()

    def run(self) -> PullOutcome:
        """Pull the files. Blocking."""
        try:
            self._check_disk()
            self._hub.refuse_if_offline()
            manifest = self._resolve()
            with locked(self._paths, self._stop, self._progress.waits):
                self._writer.refuse_links(manifest)
                self._fetch_all(manifest)
                self._raise_if_stopped()
                self._writer.publish(manifest, self._times, time.time())
            return PullOutcome(manifest)
        except CancelledError:
            return PullOutcome(self._manifest, stopped=True)
        except LmxError as error:
            return PullOutcome(self._manifest, error=error.body())
        except OSError as error:
            return PullOutcome(self._manifest, error=disk_error(error).body())
        except BaseException as error:  # the top of a thread: a defect must not look like a pull without an end
            fault = HubError(f"internal error: {type(error).__name__}: {error}", hint="please report it")
            return PullOutcome(self._manifest, error=fault.body())

    def _resolve(self) -> Manifest:
        """Return the pinned manifest, or a new one, which is recorded before the first byte is fetched."""
        spec, failures, begun = self._spec, 0, time.monotonic()
        patience = AWAITED_PATIENCE_SECONDS if spec.awaited else spec.patience
        while self._manifest is None:
            try:
                found = self._hub.manifest(spec.repo, spec.revision, spec.include, spec.exclude, self._raise_if_stopped)
                self._on_manifest(found)
                self._manifest = found
            except TransientHubError as error:
                failures += 1
                if time.monotonic() - begun > patience:
                    raise
                self._progress.retries("", error.message)
                if self._stop.wait(backoff(failures)):
                    raise CancelledError("the pull was stopped") from None
        self._progress.resolved()
        return self._manifest

    def _fetch_all(self, manifest: Manifest) -> None:
        """Fetch every blob of the manifest that is not yet verified."""
        times = self._writer.verified_times(manifest.commit)
        blobs = {file.blob: file for file in manifest.files}
        self._progress.have(sum(file.size for file in manifest.files) - sum(file.size for file in blobs.values()))
        for file in manifest.files:
            if blobs[file.blob] is not file:  # a second name of the same bytes
                self._progress.ends(file.path, verified=True)
        missing = [file for file in blobs.values() if not self._is_verified(manifest.commit, file, times)]
        self._check_room(missing)
        fetcher = self._fetcher = Fetcher(
            self._writer,
            self._hub.token(),
            self._stop,
            self._progress,
            self._throttle,
            self._check_space,
            self._spec.patience,
        )
        try:
            first = [file for file in missing if file.path in CODE_CONFIGS]
            self._in_parallel(fetcher, manifest, first)
            self._check_configs(manifest)
            self._in_parallel(fetcher, manifest, [file for file in missing if file not in first])
            written = [f for f in blobs.values() if not self._writer.is_unchanged(manifest.commit, f, self._times)]
            self._progress.lost(sum(file.size for file in written))
            self._in_parallel(fetcher, manifest, written)  # another program wrote to them during the pull
        finally:
            self._fetcher = None
            fetcher.close()

    def _is_verified(self, commit: str, file: ManifestFile, times: dict[str, int]) -> bool:
        """Return whether a file is unchanged since its verification, and count it as done then."""
        if not self._writer.is_unchanged(commit, file, times):
            return False
        self._times[file.blob] = times[file.blob]
        self._progress.have(file.size)
        self._progress.ends(file.path, verified=True)
        return True

    def _in_parallel(self, fetcher: Fetcher, manifest: Manifest, files: Sequence[ManifestFile]) -> None:
        """Fetch files in parallel, the small ones first. The first failure stops the others."""
        if not files:
            return
        failed: BaseException | None = None
        with ThreadPoolExecutor(min(THREADS, len(files)), thread_name_prefix="pull") as threads:
            ordered = sorted(files, key=lambda file: file.size)
            work = [threads.submit(self._work_on, fetcher, manifest, file) for file in ordered]
            done, _ = wait(work, return_when=FIRST_EXCEPTION)
            failed = _failure(done)
            if failed is not None:
                self._stop_all(fetcher, work)
        if failed is not None:
            raise failed

    def _stop_all(self, fetcher: Fetcher, work: list[Future[None]]) -> None:
        for future in work:
            future.cancel()
        self._stop.set()
        while not all(future.done() for future in work):
            fetcher.abort()
            wait(work, timeout=0.2)

    def _work_on(self, fetcher: Fetcher, manifest: Manifest, file: ManifestFile) -> None:
        self._raise_if_stopped()
        verified = False
        try:
            if file.size >= LARGE_BYTES:
                with self._large:
                    self._raise_if_stopped()
                    self._verify_or_fetch(fetcher, manifest, file)
            else:
                self._verify_or_fetch(fetcher, manifest, file)
            verified = True
        finally:
            self._progress.ends(file.path, verified=verified)

    def _verify_or_fetch(self, fetcher: Fetcher, manifest: Manifest, file: ManifestFile) -> None:
        """Use the blob that is already in the cache if its hash is right, else fetch the file."""
        blob = self._paths.stored(manifest.commit, file)
        if blob.is_file():
            status = blob.stat()
            if status.st_size == file.size:
                self._progress.begins(file.path, "verifying")
                self._progress.found(file.size)
                if hash_file(blob, hash_for(file), self._stop, self._progress.checked) == file.blob:
                    self._progress.resumed(file.size)
                    self._times[file.blob] = status.st_mtime_ns
                    return
                self._progress.lost(file.size)
            self._progress.retries(file.path, f"{file.path}: the copy in the cache has a wrong hash; fetching it again")
            self._writer.quarantine(blob, file)
        self._times[file.blob] = fetcher.fetch(self._hub.url(manifest, file), file)

    def _check_configs(self, manifest: Manifest) -> None:
        """Raise UntrustedModelError when a config names code. Explicitly included files are not checked."""
        configs = [file for file in manifest.files if file.path in CODE_CONFIGS and file.size <= CONFIG_BYTES]
        if not self._spec.include:
            read = {file.path: self._paths.stored(manifest.commit, file).read_bytes() for file in configs}
            refuse_code(manifest.repo, read)

    def _check_room(self, missing: Sequence[ManifestFile]) -> None:
        """Raise DiskError when the missing files do not fit on the disk."""
        have = 0
        for file in missing:
            for path in (self._paths.partial(file), self._paths.blob(file)):
                have += min(file.size, path.stat().st_size) if path.is_file() else 0
        wanted, reserve = sum(file.size for file in missing) - have, self._spec.reserve
        free = self._free(self._paths.blobs)
        if wanted > 0 and wanted + reserve > free:
            raise DiskError(
                f"{self._spec.repo} needs {size(wanted)} more; {size(free)} are free, and "
                f"{size(reserve)} of them are kept free",
                hint="free some space (lmx du shows the size of each model), or lower [library] reserve_bytes",
            )

    def _check_space(self) -> None:
        """Raise DiskError when other programs have filled the disk during the pull. Cheap to call for each chunk."""
        now = time.monotonic()
        if now - self._space_at < SPACE_SECONDS:
            return
        self._space_at = now
        free = self._free(self._paths.blobs)
        if free < self._spec.reserve:
            raise DiskError(
                f"the disk is nearly full: {size(free)} are free, and lmx leaves {size(self._spec.reserve)}",
                hint="free some space, and pull again: it continues where it stopped",
            )

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise CancelledError("the pull was stopped")


def _failure(done: "set[Future[None]]") -> BaseException | None:
    """Return the first error that is not the stop of another thread."""
    errors = [error for future in done if not future.cancelled() and (error := future.exception()) is not None]
    return next((error for error in errors if not isinstance(error, CancelledError)), errors[0] if errors else None)
