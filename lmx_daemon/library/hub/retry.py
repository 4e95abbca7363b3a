"""Retries of requests: which failures are retried, and after which delay."""

import random
import time
from email.utils import parsedate_to_datetime

import httpx2

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LONGEST_REQUESTED_SECONDS = 300.0
"""Longest delay that a server may request. The Hub's rate limits are windows of this length."""
MAX_FAILURES = 50
"""Number of consecutive attempts without a byte after which a file fails."""
RETRIED = (408, 425, 429, 500, 502, 503, 504)
"""Status codes that are retried."""


class RetryableError(Exception):
    """Failure of one attempt, which may be retried. `wait` is the delay that the server requested, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def retry_after(response: httpx2.Response) -> float | None:
    """Return the delay that a response requests by Retry-After, at most LONGEST_REQUESTED_SECONDS."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return min(float(value), LONGEST_REQUESTED_SECONDS)
    try:
        return min(LONGEST_REQUESTED_SECONDS, max(0.0, parsedate_to_datetime(value).timestamp() - time.time()))
    except (TypeError, ValueError, OverflowError):
        return None


def backoff(failures: int) -> float:
    """Return the delay after a number of failures: doubled each time, and random so that clients do not synchronise."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (0.75 + random.random() / 2)
