"""Tests of the log line of a request."""

import logging

import pytest

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.monitor.request_log import MAX_REFUSED, RequestLog, summary

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))

ROW = RequestRow(
    id="r", model="m", state="finished", route="/v1/chat/completions", tenant="local", age=1.5, completion_tokens=7
)


def test_lines_of_a_flood_of_refused_requests_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    log = RequestLog(clock=lambda: 0.0)
    with caplog.at_level(logging.INFO, "lmx"):
        for _ in range(1000):
            log.refused(REQUEST, ROW)
    assert len(caplog.records) == MAX_REFUSED


def test_the_line_has_state_time_and_tokens() -> None:
    assert summary(ROW) == "/v1/chat/completions from local: finished after 1.50 s, 7 tokens"


@pytest.mark.parametrize(
    ("position", "expected"), [(None, "(8 cached; evicted)"), (12, "(8 cached; evicted, at token 12)")]
)
def test_the_line_has_the_reason_of_a_cache_miss_and_its_position_if_known(position: int | None, expected: str) -> None:
    row = RequestRow(
        id="r",
        model="m",
        state="finished",
        prompt_tokens=99,
        cached_tokens=8,
        miss="evicted",
        first_difference=position,
    )
    assert f"99 prompt tokens {expected}" in summary(row)


def test_the_line_of_a_failed_request_has_the_error() -> None:
    row = RequestRow(id="r", model="m", state="failed", error=ErrorBody(code="worker_failed", message="it died"))
    assert summary(row).endswith("worker_failed: it died")
