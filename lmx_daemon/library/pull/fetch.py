"""Fetches the bytes of one file: resumed, hashed while they arrive, and renamed to a blob once the hash is right.

The bytes fetched so far are in a partial file, also after a kill; they are hashed again before they are continued. All
methods block. The order of files and the snapshot are decided elsewhere.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import httpx2

from lmx_daemon.contract.errors import AuthenticationError, CancelledError, HubError, IntegrityError, NotFoundError
from lmx_daemon.contract.version import VERSION
from lmx_daemon.library.hub.addresses import origin
from lmx_daemon.library.hub.retry import MAX_FAILURES, RETRIED, RetryableError, backoff, retry_after
from lmx_daemon.library.pull.partial_file import PartialFile, open_partial
from lmx_daemon.library.pull.progress import PullProgress
from lmx_daemon.library.pull.repository_writer import RepositoryWriter
from lmx_daemon.library.pull.throttle import Throttle
from lmx_daemon.library.verify.hashing import Hash, hash_for, hash_into
from lmx_daemon.library.verify.manifest import ManifestFile

CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0
LIMIT_SECONDS = 0.5
"""Interval at which a wait for the rate limit looks for another limit."""
MAX_REDIRECTS = 5
MAX_SHORT_RESPONSES = 3
"""Number of responses with a too small Content-Length after which a file fails. A captive portal's page is one."""
TERMS = "accept them on the model's page, then log in with: lmx login"
REDIRECTS = (301, 302, 303, 307, 308)


class Fetcher:
    """Fetches files of one repository, several at once. After `stop` is set, `abort` wakes the threads that wait."""

    def __init__(
        self,
        writer: RepositoryWriter,
        token: str | None,
        stop: threading.Event,
        progress: PullProgress,
        throttle: Throttle,
        check_space: Callable[[], None],
        patience: float,
    ) -> None:
        self._writer = writer
        self._token = token
        self._stop = stop
        self._progress = progress
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
        """Close the HTTP client."""
        self._client.close()

    def abort(self) -> None:
        """Break every connection, so that a thread that waits for bytes notices the stop."""
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
        """Fetch a file into its blob, and return the blob's st_mtime_ns.

        Raises HubError, IntegrityError, DiskError, CancelledError or OSError.
        """
        partial = self._writer.paths.partial(file)
        for last in (False, True):
            with open_partial(partial) as output:
                digest = self._complete(url, file, output)
            if digest == file.blob:
                return self._writer.admit(file)
            self._progress.lost(file.size)
            self._writer.quarantine(partial, file)
            if not last:
                self._progress.retries(file.path, f"{file.path}: its hash is wrong; fetching it again")
        raise IntegrityError(
            f"{file.path} is not the file that the Hub published: its hash was wrong twice",
            hint="the mirror or the network alters it; try again, or set another HF_ENDPOINT",
        )

    def _complete(self, url: str, file: ManifestFile, output: IO[bytes]) -> str:
        """Fetch until the file has its length, and return its hash."""
        partial = PartialFile(output, file, self._rehash(output, file))
        failures, moved = 0, time.monotonic()
        while partial.position < file.size:
            before = partial.position
            self._progress.begins(file.path, "downloading")
            try:
                self._attempt(url, partial)
            except RetryableError as error:
                now = time.monotonic()
                failures = 1 if partial.position > before else failures + 1
                moved = (now if partial.position > before else moved) + (error.wait or 0.0)
                if now - moved > self._patience or failures > MAX_FAILURES:
                    raise HubError(
                        f"{file.path}: {error}, and no byte arrived for {self._patience:.0f} s",
                        hint="check the network, and pull again: it continues where it stopped",
                    ) from error
                self._progress.retries(file.path, f"{file.path}: {error}")
                self._pause(error.wait if error.wait is not None else backoff(failures))
        self._progress.begins(file.path, "verifying")  # only the write to the disk is left
        return str(partial.digest.hexdigest())

    def _rehash(self, output: IO[bytes], file: ManifestFile) -> Hash:
        """Hash the bytes of an earlier attempt, and leave the position behind them."""
        digest = hash_for(file)
        kept = os.fstat(output.fileno()).st_size
        if kept > file.size:
            output.truncate(kept := 0)
        if kept:
            self._progress.found(kept)
            self._progress.begins(file.path, "verifying")
            hash_into(digest, output, self._stop, self._progress.checked)
            self._progress.resumed(kept)
        return digest

    def _attempt(self, url: str, partial: PartialFile) -> None:
        start = partial.position
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            partial.home = origin(url)
            response = self._open(url, headers)
            try:
                self._check_status(response, partial, start)
                if response.status_code == 200 and start:  # the server ignores ranges
                    self._progress.lost(start)
                    partial.restart()
                self._receive(response, partial)
            finally:
                self._close(response)
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.StreamError) as error:
            self._raise_if_stopped()
            raise RetryableError(f"the connection broke ({type(error).__name__})") from error

    def _open(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        """Return the response of the final location. The token is sent to the Hub's own origin only."""
        home = origin(url)
        for _ in range(MAX_REDIRECTS):
            self._raise_if_stopped()
            sent = dict(headers)
            if self._token and origin(url) == home:
                sent["Authorization"] = f"Bearer {self._token}"
            response = self._client.send(self._client.build_request("GET", url, headers=sent), stream=True)
            with self._lock:
                self._streams.add(response.extensions.get("network_stream"))
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                return response
            self._close(response)
            try:
                url = str(response.url.join(response.headers["location"]))
            except httpx2.InvalidURL:
                url = ""
            if not url.startswith(("http://", "https://")):
                raise HubError(f"{home[1]} redirects to an address that is not HTTP")
        raise HubError(f"{home[1]} redirects more than {MAX_REDIRECTS} times")

    def _close(self, response: httpx2.Response) -> None:
        with self._lock:
            self._streams.discard(response.extensions.get("network_stream"))
        response.close()

    def _check_status(self, response: httpx2.Response, partial: PartialFile, start: int) -> None:
        status, file = response.status_code, partial.file
        shifted = status == 206 and not response.headers.get("content-range", "").startswith(f"bytes {start}-")
        if (
            (status == 416 or shifted) and start and not partial.was_refused
        ):  # the partial file may be longer than the Hub's
            partial.was_refused = True
            self._progress.lost(start)
            partial.restart()
            raise RetryableError("the Hub answered with another range", 0.0)
        if status in RETRIED:
            raise RetryableError(f"the Hub answered {status}", retry_after(response))
        if status in (401, 403):
            if origin(str(response.url)) != partial.home:
                raise RetryableError(f"the Hub's store answered {status}")
            if response.headers.get("x-error-code") == "GatedRepo":
                raise AuthenticationError(
                    f"{self._writer.paths.repo} is gated: its publisher has terms to accept", hint=TERMS
                )
            raise AuthenticationError(f"{file.path}: the Hub refused it ({status})", hint="log in with: lmx login")
        if status in (404, 410):
            raise NotFoundError(
                f"{file.path} is no longer on the Hub at this commit ({status})",
                hint="its publisher changed the repository during the pull; pull again for the newest commit",
            )
        if status not in (200, 206):
            raise HubError(f"{file.path}: the Hub answered {status}", hint="try again later")
        if shifted:
            raise RetryableError("the Hub answered with another range")
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) < file.size - start:
            partial.short_responses += 1
            reason = f"the Hub sends {declared} bytes where {file.size - start} are missing"
            if partial.short_responses < MAX_SHORT_RESPONSES:
                raise RetryableError(reason)
            raise IntegrityError(f"{file.path} is not the file that the Hub listed: {reason}", hint="pull again later")

    def _receive(self, response: httpx2.Response, partial: PartialFile) -> None:
        for chunk in response.iter_raw():
            self._raise_if_stopped()
            taken = partial.write(chunk)
            self._progress.received(taken)
            self._check_space()
            if partial.is_full:
                return
            if delay := self._throttle.delay(taken):
                self._wait(delay)
        raise RetryableError(f"the Hub ended after {partial.position} of {partial.file.size} bytes")

    def _wait(self, seconds: float) -> None:
        """Wait for the rate limit, but not longer than it stays the same."""
        rate, end = self._throttle.rate(), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._throttle.rate() == rate:
            self._pause(min(left, LIMIT_SECONDS))

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise CancelledError("the pull was stopped")

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise CancelledError("the pull was stopped")
