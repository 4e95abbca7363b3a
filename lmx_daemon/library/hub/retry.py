"""When to try again, and how long to wait before that: a server's own word first, else longer each time."""

import random
import time
from email.utils import parsedate_to_datetime

import httpx2

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 300.0
"""As the Hub's windows of rate limits are; a server that asks for more is asked again earlier."""
MAX_FAILURES = 50
"""In a row without a byte, whatever the server says."""
RETRIED = (408, 425, 429, 500, 502, 503, 504)


class RetryableError(Exception):
    """This attempt failed; the next may not. `wait` is what the server asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds that the server asks to wait, bounded."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return min(float(value), LONGEST_ASKED_SECONDS)
    try:
        return min(LONGEST_ASKED_SECONDS, max(0.0, parsedate_to_datetime(value).timestamp() - time.time()))
    except (TypeError, ValueError):
        return None


def backoff(failures: int) -> float:
    """Doubled each time, with a little chance in it, so that many clients do not come back together."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (0.75 + random.random() / 2)
