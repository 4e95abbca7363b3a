"""Delays between attempts."""

import time
from email.utils import formatdate

import httpx2
import pytest

from lmx_daemon.library.hub.retry import LONGEST_REQUESTED_SECONDS, LONGEST_WAIT_SECONDS, backoff, retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("99999", LONGEST_REQUESTED_SECONDS),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_seconds(value: str, seconds: float | None) -> None:
    assert retry_after(httpx2.Response(429, headers={"retry-after": value.encode()})) == seconds


def test_retry_after_date() -> None:
    wait = retry_after(httpx2.Response(429, headers={"retry-after": formatdate(time.time() + 60, usegmt=True)}))
    assert wait is not None and 50 < wait <= 60


def test_backoff_grows_to_its_limit() -> None:
    waits = [backoff(failures) for failures in range(1, 40)]
    assert 0.3 < waits[0] < 0.7 and max(waits) <= LONGEST_WAIT_SECONDS * 1.25
    assert waits[5] > waits[0] and waits[-1] >= LONGEST_WAIT_SECONDS * 0.75
