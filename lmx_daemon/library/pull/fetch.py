"""The bytes of one file: resumed, hashed as they come, and named by their hash only when that is proved.

Blocking, for a thread of its own. What is fetched so far lies in a partial file, also after a kill -9; it is hashed
again before it is built on. Whose turn it is, and what becomes of the snapshot, others decide.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx2

from lmx_daemon.contract.errors import AuthenticationError, CancelledError, HubError, IntegrityError, NotFoundError
from lmx_daemon.contract.version import VERSION
from lmx_daemon.library.hub.retry import MAX_FAILURES, RETRIED, RetryableError, backoff, retry_after
from lmx_daemon.library.pull.progress import PullProgress
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from lmx_daemon.library.pull.throttle import Throttle
from lmx_daemon.library.verify.hashing import Hash, hash_for, hash_into
from lmx_daemon.library.verify.manifest import ManifestFile

CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0
MAX_REDIRECTS = 5
MAX_SHORT = 3
"""Answers that are too short by their own word; a portal's page is, and goes away."""
TERMS = "accept them on the model's page, then log in with: lmx login"
REDIRECTS = (301, 302, 303, 307, 308)


class Fetcher:
    """Fetches files of one repository, several at once. After `stop` is set, call `abort` to wake those who wait."""

    def __init__(
        self,
        writer: RepositoryWriter,
        token: str | None,
        stop: threading.Event,
        tally: PullProgress,
        throttle: Throttle,
        check_space: Callable[[], None],
        patience: float,
    ) -> None:
        self._writer = writer
        self._token = token
        self._stop = stop
        self._tally = tally
        self._throttle = throttle
        self._check_space = check_space
        self._patience = patience
        self._lock = threading.Lock()
        self._streams: set[Any] = set()
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            headers={"User-Agent": f"lmx/{VERSION}", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        self._client.close()

    def abort(self) -> None:
        """Breaks every connection, so that a thread that waits for bytes sees that it is to stop."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            raw = stream.get_extra_info("socket")
            if isinstance(raw, socket.socket):
                try:
                    socket.socket.shutdown(raw, socket.SHUT_RDWR)  # under TLS, which is not thread-safe
                except OSError:
                    continue

    def fetch(self, url: str, file: ManifestFile) -> int:
        """Leaves the blob; its st_mtime_ns. Raises HubError, IntegrityError, DiskError, CancelledError or OSError."""
        partial = self._writer.paths.partial(file)
        for last in (False, True):
            with _open_partial(partial) as output:
                digest = self._whole(url, file, output)
            if digest == file.blob:
                return self._writer.admit(file)
            self._tally.lost(file.size)
            self._writer.quarantine(partial, file)
            if not last:
                self._tally.retries(file.path, f"{file.path}: its hash is wrong; fetching it again")
        raise IntegrityError(
            f"{file.path} is not what the Hub published: its hash is wrong, twice",
            hint="the mirror or the line alters it; try again, or another HF_ENDPOINT",
        )

    def _whole(self, url: str, file: ManifestFile, output: IO[bytes]) -> str:
        """Until the file is as long as it must be; its hash."""
        writing = _Writing(output, file, self._rehash(output, file))
        failures, moved = 0, time.monotonic()
        while writing.position < file.size:
            before = writing.position
            self._tally.begins(file.path, "downloading")
            try:
                self._attempt(url, writing)
            except RetryableError as again:
                now = time.monotonic()
                failures = 1 if writing.position > before else failures + 1
                moved = (now if writing.position > before else moved) + (again.wait or 0.0)
                if now - moved > self._patience or failures > MAX_FAILURES:
                    raise HubError(
                        f"{file.path}: {again}, and nothing came for {self._patience:.0f} s",
                        hint="check the network, and pull again: it goes on where it stopped",
                    ) from again
                self._tally.retries(file.path, f"{file.path}: {again}")
                self._wait(again.wait if again.wait is not None else backoff(failures))
        self._tally.begins(file.path, "verifying")  # what is left is to bring it to the disk
        return str(writing.digest.hexdigest())

    def _rehash(self, output: IO[bytes], file: ManifestFile) -> Hash:
        """The hash of what an earlier attempt left; the position is behind it."""
        digest = hash_for(file)
        kept = os.fstat(output.fileno()).st_size
        if kept > file.size:
            output.truncate(kept := 0)
        if kept:
            self._tally.found(kept)
            self._tally.begins(file.path, "verifying")
            hash_into(digest, output, self._stop, self._tally.checked)
            self._tally.kept(kept)
        return digest

    def _attempt(self, url: str, writing: "_Writing") -> None:
        start = writing.position
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            writing.home = _origin(url)
            response = self._open(url, headers)
            try:
                self._check_status(response, writing, start)
                if response.status_code == 200 and start:  # the server ignores ranges: from the beginning
                    self._tally.lost(start)
                    writing.begin_anew()
                self._receive(response, writing)
            finally:
                self._leave(response)
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.StreamError) as error:
            self._raise_if_stopped()
            raise RetryableError(f"the connection broke ({type(error).__name__})") from error

    def _open(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        """A stream of the final location. The token goes to the Hub's own origin and nowhere else."""
        home = _origin(url)
        for _ in range(MAX_REDIRECTS):
            self._raise_if_stopped()
            mine = dict(headers)
            if self._token and _origin(url) == home:
                mine["Authorization"] = f"Bearer {self._token}"
            response = self._client.send(self._client.build_request("GET", url, headers=mine), stream=True)
            with self._lock:
                self._streams.add(response.extensions.get("network_stream"))
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                return response
            self._leave(response)
            url = str(response.url.join(response.headers["location"]))
            if not url.startswith(("http://", "https://")):
                raise HubError(f"{home[1]} redirects to something that is no web address")
        raise HubError(f"{home[1]} redirects more than {MAX_REDIRECTS} times")

    def _leave(self, response: httpx2.Response) -> None:
        with self._lock:
            self._streams.discard(response.extensions.get("network_stream"))
        response.close()

    def _check_status(self, response: httpx2.Response, writing: "_Writing", start: int) -> None:
        status, file = response.status_code, writing.file
        shifted = status == 206 and not response.headers.get("content-range", "").startswith(f"bytes {start}-")
        if (status == 416 or shifted) and start and not writing.was_refused:  # what is here may be more than there is
            writing.was_refused = True
            self._tally.lost(start)
            writing.begin_anew()
            raise RetryableError("the Hub answered with another range", 0.0)
        if status in RETRIED:
            raise RetryableError(f"the Hub answered {status}", retry_after(response))
        if status in (401, 403):
            if _origin(str(response.url)) != writing.home:
                raise RetryableError(f"the Hub's store answered {status}")
            if response.headers.get("x-error-code") == "GatedRepo":
                raise AuthenticationError(
                    f"{self._writer.paths.repo} is gated: its publisher has terms to accept", hint=TERMS
                )
            raise AuthenticationError(f"{file.path}: the Hub refused it ({status})", hint="log in with: lmx login")
        if status in (404, 410):
            raise NotFoundError(
                f"{file.path} is no longer on the Hub at this commit ({status})",
                hint="its publisher changed it under way; pull again for what is there now",
            )
        if status not in (200, 206):
            raise HubError(f"{file.path}: the Hub answered {status}", hint="try again later")
        if shifted:
            raise RetryableError("the Hub answered with another range")
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) < file.size - start:
            writing.short += 1
            said = f"the Hub sends {declared} bytes where {file.size - start} are missing"
            if writing.short < MAX_SHORT:
                raise RetryableError(said)
            raise IntegrityError(f"{file.path} is not what the Hub listed: {said}", hint="pull again later")

    def _receive(self, response: httpx2.Response, writing: "_Writing") -> None:
        for chunk in response.iter_raw():
            self._raise_if_stopped()
            taken = writing.write(chunk)
            self._tally.received(taken)
            self._check_space()
            if writing.is_full:
                return
            if owed := self._throttle.owed(taken):
                self._wait(owed)
        raise RetryableError(f"the Hub ended after {writing.position} of {writing.file.size} bytes")

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise CancelledError("the pull was stopped")

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise CancelledError("the pull was stopped")


class _Writing:
    """A partial file, and the hash of all that is in it."""

    def __init__(self, output: IO[bytes], file: ManifestFile, digest: Hash) -> None:
        self.file = file
        self.digest = digest
        self.position = output.tell()
        self.was_refused = False
        self.short = 0
        self.home = ("", "")
        self._output = output

    @property
    def is_full(self) -> bool:
        return self.position >= self.file.size

    def write(self, chunk: bytes) -> int:
        """So many of its bytes belong to the file; a server may send more than that."""
        chunk = chunk[: self.file.size - self.position]
        view = memoryview(chunk)
        while view:
            view = view[self._output.write(view) :]
        self.digest.update(chunk)
        self.position += len(chunk)
        return len(chunk)

    def begin_anew(self) -> None:
        self._output.seek(0)
        self._output.truncate()
        self.digest = hash_for(self.file)
        self.position = 0


def _open_partial(partial: Path) -> IO[bytes]:
    """Read and write, at its beginning; a link is not followed."""
    return open(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+b", buffering=0)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
