"""GET requests to the Hub whose responses are bounded in bytes and in time. Redirects are left to the caller.

A Hub may send without an end, slowly enough for every timeout of a single read, or compressed a thousandfold.
"""

import time
from collections.abc import Callable

import httpx2

from lmx_daemon.contract.errors import HubError

MAX_BYTES = 32 * 1024 * 1024


class Budget:
    """Bytes and seconds that responses may take together. `check` runs for each chunk, and may raise."""

    def __init__(self, seconds: float, check: Callable[[], None] = lambda: None, most: int = MAX_BYTES) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._most = self._left = most
        self._check = check

    def spend(self, count: int = 0) -> None:
        """Count received bytes. Raises HubError when the bytes or the seconds are used up."""
        self._check()
        self._left -= count
        if self._left < 0:
            raise HubError(f"the Hub's response has more than {self._most} bytes")
        if time.monotonic() > self._deadline:
            raise HubError(f"the Hub's response took longer than {self._seconds:.0f} s", hint="try again later")


def bounded_get(client: httpx2.Client, url: str, headers: dict[str, str], budget: Budget) -> httpx2.Response:
    """Return a response with its content, decompressed. Redirects are not followed. Raises HubError, HTTPError."""
    budget.spend()
    with client.stream("GET", url, headers=headers, follow_redirects=False) as response:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            budget.spend(len(chunk))
        kept = [
            pair for pair in response.headers.multi_items() if pair[0] not in ("content-encoding", "content-length")
        ]
        return httpx2.Response(response.status_code, headers=kept, content=bytes(content), request=response.request)
