"""The bytes of one file: resumed, hashed as they come, and named by their hash only when that is proved.

Blocking, for a thread of its own. What is fetched so far lies in `<hash>.lmx.incomplete`, also after a kill -9; it is
hashed again before it is built on.
"""

import errno
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from lmx_daemon.contract.errors import CancelledError, HubError, IntegrityError, LmxError
from lmx_daemon.library.hub import RemoteFile

CHUNK_BYTES = 1 << 20
ATTEMPTS = 6
"""In a row without a single byte; any byte begins the count again."""
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
READ_SECONDS = 30.0
MAX_REDIRECTS = 5
RETRIED = (408, 425, 429, 500, 502, 503, 504)


class Again(Exception):
    """This attempt failed; the next may not. `wait` is what the server asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Fetcher:
    """Fetches files of one repository. `on_bytes` hears of progress, `on_retry` of each new attempt."""

    def __init__(
        self,
        token: str | None,
        stop: threading.Event,
        on_bytes: Callable[[int], None],
        on_retry: Callable[[str], None],
    ) -> None:
        self._token = token
        self._stop = stop
        self._on_bytes = on_bytes
        self._on_retry = on_retry
        self._client = httpx2.Client(timeout=httpx2.Timeout(READ_SECONDS), follow_redirects=False)

    def close(self) -> None:
        self._client.close()

    def fetch(self, url: str, file: RemoteFile, blobs: Path) -> int:
        """Leaves `blobs/<hash>`; the number of bytes that an earlier attempt had left. Raises HubError, IntegrityError
        or CancelledError."""
        partial = blobs / f"{file.blob}.lmx.incomplete"
        resumed = -1
        for last in (False, True):
            kept = self._fetch_once(url, file, partial)
            resumed = kept if resumed < 0 else resumed
            if partial.stat().st_size == file.size and self._proved(partial, file):
                publish(partial, blobs / file.blob)
                return resumed
            self._on_bytes(-partial.stat().st_size)
            partial.unlink()
            if last:
                break
            self._on_retry(f"{file.path}: the hash does not match; fetching it again")
        raise IntegrityError(
            f"{file.path} is not what the Hub published: its hash differs, twice",
            hint="the mirror or the line alters it; try again, or another HF_ENDPOINT",
        )

    def _fetch_once(self, url: str, file: RemoteFile, partial: Path) -> int:
        """Until the file is as long as it must be. Returns the bytes that were there before."""
        if partial.exists() and partial.stat().st_size > file.size:
            partial.unlink()
        kept = partial.stat().st_size if partial.exists() else 0
        self._on_bytes(kept)
        failures = 0
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            if before == file.size and partial.exists():
                return kept
            try:
                self._attempt(url, file, partial, before)
                continue
            except Again as again:
                grown = (partial.stat().st_size if partial.exists() else 0) > before
                failures = 1 if grown else failures + 1
                if failures >= ATTEMPTS:
                    raise HubError(f"{file.path}: {again}", hint="check the network, and pull again") from again
                self._on_retry(f"{file.path}: {again}")
                self._sleep(again.wait if again.wait is not None else backoff(failures))

    def _attempt(self, url: str, file: RemoteFile, partial: Path, start: int) -> None:
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with self._open(url, headers) as response:
                if response.status_code == 200 and start:  # the server ignores ranges: from the beginning
                    self._on_bytes(-start)
                    start = 0
                self._check_status(response, file, start)
                self._write(response, file, partial, start)
        except httpx2.TransportError as error:
            raise Again(f"the connection broke ({type(error).__name__})") from error
        except OSError as error:
            raise disk_error(error) from error

    def _open(self, url: str, headers: dict[str, str]) -> Any:
        """A stream of the final location. The token goes to the Hub's own origin and nowhere else."""
        origin = urlsplit(url).netloc
        for _ in range(MAX_REDIRECTS):
            mine = dict(headers)
            if self._token and urlsplit(url).netloc == origin:
                mine["Authorization"] = f"Bearer {self._token}"
            response = self._client.send(self._client.build_request("GET", url, headers=mine), stream=True)
            if response.status_code not in (301, 302, 303, 307, 308):
                return _Closing(response)
            response.close()
            url = str(response.url.join(response.headers["location"]))
        raise HubError(f"more than {MAX_REDIRECTS} redirects")

    def _check_status(self, response: httpx2.Response, file: RemoteFile, start: int) -> None:
        status = response.status_code
        if status in RETRIED:
            raise Again(f"the Hub answered {status}", retry_after(response))
        if status == 416:
            raise Again("the Hub does not have that many bytes")
        if status in (401, 403):
            raise HubError(f"{file.path}: the Hub refused ({status})", hint="log in: hf auth login, or set HF_TOKEN")
        if status not in (200, 206):
            raise HubError(f"{file.path}: the Hub answered {status}")
        if status == 206 and not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
            raise Again("the Hub answered with another range")

    def _write(self, response: httpx2.Response, file: RemoteFile, partial: Path, start: int) -> None:
        position = start
        with partial.open("r+b" if start else "wb") as output:
            output.seek(start)
            for chunk in response.iter_raw(CHUNK_BYTES):
                if self._stop.is_set():
                    raise CancelledError("the pull was stopped")
                chunk = chunk[: file.size - position]
                output.write(chunk)
                position += len(chunk)
                self._on_bytes(len(chunk))
                if position >= file.size:
                    break
        if position < file.size:
            raise Again(f"the Hub ended after {position} of {file.size} bytes")

    def _proved(self, partial: Path, file: RemoteFile) -> bool:
        digest = hash_file(partial, file, self._stop)
        return digest == file.blob

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise CancelledError("the pull was stopped")


class _Closing:
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    def __enter__(self) -> httpx2.Response:
        return self._response

    def __exit__(self, *_: object) -> None:
        self._response.close()


def hash_file(path: Path, file: RemoteFile, stop: threading.Event) -> str:
    """sha256 of a large file, git's sha1 of a small one, as hexadecimal digits."""
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            if stop.is_set():
                raise CancelledError("the pull was stopped")
            digest.update(chunk)
    return digest.hexdigest()


def publish(partial: Path, blob: Path) -> None:
    """Makes proved bytes visible: after a power cut there is either the whole file or none."""
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(partial, blob)
    sync_folder(blob.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError) -> LmxError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError("the disk is full", hint="free some space, and pull again: it goes on where it stopped")
    return HubError(f"cannot write: {error.strerror or error}", hint="check the Hugging Face cache's folder")


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds that the server asks to wait, bounded."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return min(float(value), LONGEST_WAIT_SECONDS)
    try:
        return min(LONGEST_WAIT_SECONDS, max(0.0, parsedate_to_datetime(value).timestamp() - time.time()))
    except (TypeError, ValueError):
        return None


def backoff(failures: int) -> float:
    """Doubled each time, with a little chance in it, so that many clients do not come back together."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (failures - 1))
    return longest * (0.75 + random.random() / 2)
