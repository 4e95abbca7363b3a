"""Pulls: jobs that bring a repository into the Hugging Face cache, where it appears only when every file is proved.

Each job runs in a thread; what is told of it is a Download. It decides nothing of the queue's order: jobs run at once.
"""

import asyncio
import fcntl
import os
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lmx_daemon.contract.config import LibrarySettings
from lmx_daemon.contract.errors import CancelledError, HubError, JobNotFoundError, LmxError, RequestError
from lmx_daemon.contract.types import Download, DownloadState, PullRequest
from lmx_daemon.library.fetch import Fetcher, disk_error, sync_folder
from lmx_daemon.library.hub import REVISION, Hub, Manifest, RemoteFile, repository_of
from lmx_daemon.library.places import hub_cache

TOGETHER = 2
"""Files of one pull that are fetched at once."""
STALLED_SECONDS = 15.0
RATE_SECONDS = 10.0
TELL_SECONDS = 0.15
LOCK_POLL_SECONDS = 0.2
ENDED: tuple[DownloadState, ...] = ("done", "failed", "cancelled")


class Pulls:
    """Owned by the daemon's loop; the threads report through each job's lock."""

    def __init__(self, settings: LibrarySettings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._hub = Hub(settings.endpoint, environ)
        self._cache = hub_cache(environ)
        self._jobs: dict[str, Job] = {}

    async def start(self, request: PullRequest) -> Download:
        """Starts a pull, or finds the one under way for the same repository. Raises RequestError."""
        repo = repository_of(request.repo)
        if request.revision is not None and (not REVISION.fullmatch(request.revision) or ".." in request.revision):
            raise RequestError(f"{request.revision[:200]!r} is not a revision", param="revision")
        for job in self._jobs.values():
            if job.repo == repo and job.told().state not in ENDED:
                return job.told()
        job = Job(repo, request.revision, self._hub, self._cache, self._settings.reserve_bytes)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(asyncio.to_thread(job.run))
        return job.told()

    def list(self) -> "list[Download]":
        return [job.told() for job in self._jobs.values()]

    def get(self, identity: str) -> Download:
        return self._job(identity).told()

    async def watch(self, identity: str) -> AsyncIterator[Download]:
        """The job as it goes on; the last one is done, failed or cancelled."""
        job = self._job(identity)
        told = job.told()
        yield told
        while told.state not in ENDED:
            await asyncio.sleep(TELL_SECONDS)
            told = job.told()
            yield told

    async def cancel(self, identity: str) -> Download:
        """Stops it; what was fetched is kept for the next pull."""
        job = self._job(identity)
        job.stop.set()
        if job.task is not None:
            await asyncio.wait([job.task], timeout=5.0)
        return job.told()

    async def close(self) -> None:
        for job in self._jobs.values():
            job.stop.set()
        tasks = [job.task for job in self._jobs.values() if job.task is not None and not job.task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)

    def _job(self, identity: str) -> "Job":
        try:
            return self._jobs[identity]
        except KeyError:
            raise JobNotFoundError(f"there is no pull {identity!r}") from None


class Job:
    """One pull, in a thread. What it says of itself is read by the loop, under the lock."""

    def __init__(self, repo: str, revision: str | None, hub: Hub, cache: Path, reserve: int) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.repo = repo
        self.stop = threading.Event()
        self.task: asyncio.Task[None] | None = None
        self._revision = revision
        self._hub = hub
        self._folder = cache / f"models--{repo.replace('/', '--')}"
        self._reserve = reserve
        self._lock = threading.Lock()
        self._told = Download(id=self.id, repo=repo, state="queued", started_at=time.time())
        self._progress: deque[tuple[float, int]] = deque()
        self._last_byte = time.monotonic()

    def told(self) -> Download:
        with self._lock:
            told, now = self._told, time.monotonic()
            if told.state in ENDED:
                return told
            state = told.state
            if state == "downloading" and now - self._last_byte > STALLED_SECONDS:
                state = "stalled"
            rate = self._rate(now)
            left = (told.total or 0) - told.done
            eta = left / rate if rate > 0 and told.total is not None else None
            return msgspec.structs.replace(told, state=state, rate=rate, eta=eta)

    def run(self) -> None:
        """The whole pull; it ends as a state, not as an exception."""
        try:
            manifest = self._hub.manifest(self.repo, self._revision)
            needed = manifest.files
            self._tell(
                state="downloading",
                revision=manifest.commit,
                total=sum(file.size for file in needed),
                files_total=len(needed),
                skipped=manifest.skipped,
            )
            with self._locked():
                self._fetch_all(manifest)
                self._publish(manifest)
            self._tell(state="done", file=None)
        except CancelledError:
            self._tell(state="cancelled", file=None)
        except LmxError as error:
            self._tell(state="failed", error=error.body())
        except OSError as error:
            self._tell(state="failed", error=disk_error(error).body())
        except Exception as error:  # the thread's edge: a fault of ours must not look like a pull without an end
            fault = HubError(f"an error of lmx's own: {type(error).__name__}: {error}", hint="please report it")
            self._tell(state="failed", error=fault.body())

    def _fetch_all(self, manifest: Manifest) -> None:
        blobs = self._folder / "blobs"
        missing = []
        for file in manifest.files:
            if (blobs / file.blob).is_file() and (blobs / file.blob).stat().st_size == file.size:
                self._count(file.size)
                self._file_done(0)
            else:
                missing.append(file)
        self._check_space(missing, blobs)
        fetcher = Fetcher(self._hub.token(), self.stop, self._count, self._retried)
        try:
            with ThreadPoolExecutor(TOGETHER, thread_name_prefix="pull") as threads:
                ordered = sorted(missing, key=lambda file: file.size)
                work = [threads.submit(self._fetch, fetcher, manifest, file, blobs) for file in ordered]
                try:
                    for future in work:
                        future.result()
                except BaseException:
                    self.stop.set()
                    for future in work:
                        future.cancel()
                    raise
        finally:
            fetcher.close()

    def _fetch(self, fetcher: Fetcher, manifest: Manifest, file: RemoteFile, blobs: Path) -> None:
        if self.stop.is_set():
            raise CancelledError("the pull was stopped")
        self._tell(state="downloading", file=file.path)
        self._file_done(fetcher.fetch(self._hub.url(manifest, file), file, blobs))

    def _check_space(self, missing: "list[RemoteFile]", blobs: Path) -> None:
        have = sum(partial.stat().st_size for f in missing if (partial := blobs / f"{f.blob}.lmx.incomplete").exists())
        wanted = sum(file.size for file in missing) - have
        free = shutil.disk_usage(blobs).free
        if wanted > 0 and wanted + self._reserve > free:
            raise HubError(
                f"{self.repo} needs {wanted / 1e9:.1f} GB, {free / 1e9:.1f} GB are free, and "
                f"{self._reserve / 1e9:.1f} GB of them are kept free",
                hint="free some space, or lower [library] reserve_bytes",
            )

    def _publish(self, manifest: Manifest) -> None:
        """Every file is proved: now the snapshot and its name appear."""
        if self.stop.is_set():
            raise CancelledError("the pull was stopped")
        snapshot = self._folder / "snapshots" / manifest.commit
        for file in manifest.files:
            link = snapshot / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            target = os.path.relpath(self._folder / "blobs" / file.blob, link.parent)
            temporary = link.with_name(f".{link.name}.lmx")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
            os.replace(temporary, link)
        sync_folder(snapshot)
        reference = self._folder / "refs" / (self._revision or "main")
        if self._revision == manifest.commit:
            return
        reference.parent.mkdir(parents=True, exist_ok=True)
        temporary = reference.with_name(f".{reference.name}.lmx")
        temporary.write_text(manifest.commit)
        os.replace(temporary, reference)
        sync_folder(reference.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One pull of a repository at a time, over all processes; the kernel frees the lock of a dead one."""
        try:
            (self._folder / "blobs").mkdir(parents=True, exist_ok=True)
            locks = self._folder.parent / ".locks"
            locks.mkdir(exist_ok=True)
            handle = (locks / f"{self._folder.name}.lmx.lock").open("ab")
        except OSError as error:
            raise disk_error(error) from error
        with handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self.stop.wait(LOCK_POLL_SECONDS):
                        raise CancelledError("the pull was stopped") from None
            yield

    # ---- what is told ----

    def _tell(self, **changes: object) -> None:
        with self._lock:
            self._told = msgspec.structs.replace(self._told, **changes)

    def _count(self, count: int) -> None:
        with self._lock:
            done = self._told.done + count
            self._told = msgspec.structs.replace(self._told, done=done, state="downloading")
            self._last_byte = time.monotonic()
            self._progress.append((self._last_byte, done))

    def _file_done(self, resumed: int) -> None:
        with self._lock:
            self._told = msgspec.structs.replace(
                self._told, files_done=self._told.files_done + 1, resumed=self._told.resumed + resumed
            )

    def _retried(self, reason: str) -> None:
        with self._lock:
            self._told = msgspec.structs.replace(self._told, retries=self._told.retries + 1, state="retrying")

    def _rate(self, now: float) -> float:
        """Bytes a second over the last seconds."""
        while len(self._progress) > 2 and now - self._progress[0][0] > RATE_SECONDS:
            self._progress.popleft()
        if len(self._progress) < 2:
            return 0.0
        (begun, before), (_, after) = self._progress[0], self._progress[-1]
        return max(0.0, (after - before) / max(0.5, now - begun))
