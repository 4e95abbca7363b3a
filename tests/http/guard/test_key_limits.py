"""Limits of keys, by a clock that the test sets."""

import pytest

from lmx_daemon.contract.errors import RateLimitError
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.guard.key_limits import KeyLimits


def test_rate_counts_any_sixty_seconds_and_refused_requests_do_not_count() -> None:
    now = [0.0]
    limits, key = KeyLimits(lambda: now[0]), Principal(tenant="key:a", key="a", rate=2)
    for moment in (0.0, 40.0):
        now[0] = moment
        limits.enter(key)
    for moment, wait in ((40.0, 20.0), (59.5, 1.0)):
        now[0] = moment
        with pytest.raises(RateLimitError) as caught:
            limits.enter(key)
        assert caught.value.retry_after == wait
    now[0] = 60.0
    limits.enter(key)
    with pytest.raises(RateLimitError) as caught:
        limits.enter(key)
    assert caught.value.retry_after == 40.0


def test_concurrency_is_counted_for_each_key() -> None:
    limits = KeyLimits()
    first, second = (Principal(tenant=name, key=name, concurrency=1) for name in "ab")
    limits.enter(first)
    limits.enter(second)
    with pytest.raises(RateLimitError):
        limits.enter(first)
    limits.leave(first)
    limits.enter(first)


def test_requests_without_a_key_have_no_limit() -> None:
    limits = KeyLimits()
    for _ in range(3):
        limits.enter(Principal(tenant="http"))
